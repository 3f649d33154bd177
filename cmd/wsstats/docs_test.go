package main

import (
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tables of docs/proxy.md have every flag of the two commands, with its default.
func TestFlagsOfTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/proxy.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| ([^|]*) \\|").FindAllSubmatch(text, -1) {
		command := "proxy"
		if _, twice := documented["proxy drain"]; twice && documented["proxy trust-forwarded"] != "" {
			command = "replay" // its table is the second
		}
		documented[command+" "+string(m[1])] = string(m[2])
	}
	// What the environment decides on is said in words.
	inWords := map[string]bool{"proxy target": true, "proxy collector": true, "proxy service-name": true, "replay token": true}
	var speed string
	for _, flags := range []*flag.FlagSet{proxyFlags(&proxyOptions{}), replayFlags(&replayOptions{}, &speed)} {
		flags.VisitAll(func(f *flag.Flag) {
			name := flags.Name() + " " + f.Name
			want := "`" + f.DefValue + "`"
			if f.DefValue == "" {
				want = "none"
			}
			got, there := documented[name]
			assert.True(t, there, "%s is not in docs/proxy.md", name)
			if !inWords[name] {
				assert.Equal(t, want, got, name)
			}
			delete(documented, name)
		})
	}
	assert.Empty(t, documented, "flags that are not there")
}
