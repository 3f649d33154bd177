package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const (
	receiverModule = "github.com/wsstats/wsstatsreceiver"
	builder        = "go.opentelemetry.io/collector/cmd/builder@v0.158.0"
	repository     = "../.."
)

// The manifest of somebody else's collector, without the lines of the README.
const foreignManifest = `
dist:
  name: otelcol-foreign
  module: example.com/otelcol-foreign
  output_path: %s

exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v0.158.0

providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider v1.64.0
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v1.64.0
  - gomod: go.opentelemetry.io/collector/confmap/provider/yamlprovider v1.64.0
`

// TestForeignManifest builds a collector as a stranger does: with the manifest
// lines that the README shows, and with the modules fetched as versions, where
// the replace lines of this repository mean nothing.
func TestForeignManifest(t *testing.T) {
	modules := readModules(t, ".", "wire")
	version := "v0.1.1-test.h" + contentHash(t, modules)
	proxy := serveModules(t, version, modules)

	dir := t.TempDir()
	lines := strings.ReplaceAll(readmeManifest(t), receiverModule+" v0.1.0", receiverModule+" "+version)
	require.Contains(t, lines, version, "the README's lines name the receiver at v0.1.0")
	manifest := filepath.Join(dir, "manifest.yaml")
	require.NoError(t, os.WriteFile(manifest, []byte(lines+fmt.Sprintf(foreignManifest, filepath.Join(dir, "out"))), 0o600))

	build := exec.Command("go", "run", builder, "--config", manifest)
	build.Dir = dir
	build.Env = strangersEnv(t, proxy)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	out, err = exec.Command(filepath.Join(dir, "out", "otelcol-foreign"), "components").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "name: wsstats\n")
	assert.Contains(t, string(out), receiverModule+" "+version)
}

// strangersEnv is the environment of a Go command that finds our modules as
// versions, in a directory of serveModules.
func strangersEnv(t *testing.T, proxy string) []string {
	t.Helper()
	userProxy, err := exec.Command("go", "env", "GOPROXY").Output()
	require.NoError(t, err)
	return append(
		os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(proxy)+","+strings.TrimSpace(string(userProxy)),
		// No checksum database knows these versions. GOPRIVATE would pass the proxy by.
		"GONOSUMDB=github.com/wsstats/*",
		"GONOPROXY=none",
		"GOWORK=off",
	)
}

// readmeManifest are the lines that the README tells to add to a manifest.
func readmeManifest(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	require.NoError(t, err)
	marked := regexp.MustCompile("(?s)<!-- manifest -->\\s*```yaml\n(.*?)```").FindSubmatch(readme)
	require.NotNil(t, marked, "README.md has a yaml block after <!-- manifest -->")
	return string(marked[1])
}

// goModule is a module of this repository, as it lies in the working tree.
type goModule struct {
	path  string
	mod   []byte            // go.mod
	files map[string]string // name in the module to the file's path
}

// readModules collects the files of the modules in the given directories.
func readModules(t *testing.T, dirs ...string) []goModule {
	t.Helper()
	all := listFiles(t)
	var nested []string // directories of modules
	for _, name := range all {
		if path.Base(name) == "go.mod" {
			nested = append(nested, path.Dir(name))
		}
	}
	owner := func(name string) string {
		dir := path.Dir(name)
		for !slices.Contains(nested, dir) {
			dir = path.Dir(dir)
		}
		return dir
	}
	var modules []goModule
	for _, dir := range dirs {
		mod, err := os.ReadFile(filepath.Join(repository, dir, "go.mod"))
		require.NoError(t, err)
		m := goModule{path: modfile.ModulePath(mod), mod: mod, files: make(map[string]string)}
		for _, name := range all {
			if owner(name) != dir {
				continue
			}
			inModule, err := filepath.Rel(dir, name)
			require.NoError(t, err)
			m.files[filepath.ToSlash(inModule)] = filepath.Join(repository, name)
		}
		modules = append(modules, m)
	}
	return modules
}

// listFiles are the regular files of the working tree that are not ignored,
// committed or not.
func listFiles(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	require.NoError(t, err)
	names := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	return slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Lstat(filepath.Join(repository, name))
		return err != nil || !info.Mode().IsRegular()
	})
}

// contentHash makes a version stand for its content: a version that the module
// cache has from an earlier run is the same, or it has another name.
func contentHash(t *testing.T, modules []goModule) string {
	t.Helper()
	hash := sha256.New()
	for _, m := range modules {
		for _, name := range sortedKeys(m.files) {
			content, err := os.ReadFile(m.files[name])
			require.NoError(t, err)
			fmt.Fprintf(hash, "%s %s %d\n", m.path, name, len(content))
			hash.Write(content)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// serveModules writes a module proxy with one version of each module, and
// returns its directory. The modules require each other at that version.
func serveModules(t *testing.T, version string, modules []goModule) string {
	t.Helper()
	proxy := t.TempDir()
	for _, m := range modules {
		mod := requireAt(t, m.mod, version, modules)
		escaped, err := module.EscapePath(m.path)
		require.NoError(t, err)
		dir := filepath.Join(proxy, escaped, "@v")
		require.NoError(t, os.MkdirAll(dir, 0o755))

		write := func(name string, content []byte) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		}
		write("list", []byte(version+"\n"))
		write(version+".info", fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version))
		write(version+".mod", mod)

		var files []zip.File
		for _, name := range sortedKeys(m.files) {
			files = append(files, treeFile{name: name, path: m.files[name]})
		}
		i := slices.IndexFunc(files, func(f zip.File) bool { return f.Path() == "go.mod" })
		modPath := filepath.Join(t.TempDir(), "go.mod")
		require.NoError(t, os.WriteFile(modPath, mod, 0o600))
		files[i] = treeFile{name: "go.mod", path: modPath}

		archive, err := os.Create(filepath.Join(dir, version+".zip"))
		require.NoError(t, err)
		require.NoError(t, zip.Create(archive, module.Version{Path: m.path, Version: version}, files))
		require.NoError(t, archive.Close())
	}
	return proxy
}

// requireAt rewrites a go.mod so that it requires the given modules at version.
func requireAt(t *testing.T, mod []byte, version string, modules []goModule) []byte {
	t.Helper()
	file, err := modfile.Parse("go.mod", mod, nil)
	require.NoError(t, err)
	for _, m := range modules {
		if slices.ContainsFunc(file.Require, func(r *modfile.Require) bool { return r.Mod.Path == m.path }) {
			require.NoError(t, file.AddRequire(m.path, version))
		}
	}
	out, err := file.Format()
	require.NoError(t, err)
	return out
}

// treeFile is a file of the working tree under its name in a module.
type treeFile struct{ name, path string }

func (f treeFile) Path() string                 { return f.name }
func (f treeFile) Lstat() (fs.FileInfo, error)  { return os.Lstat(f.path) }
func (f treeFile) Open() (io.ReadCloser, error) { return os.Open(f.path) }
