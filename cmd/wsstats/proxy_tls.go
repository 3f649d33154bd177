package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// listenerTLS is nil where there is no certificate.
func listenerTLS(cert, key string, log *slog.Logger) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	c := &certificate{cert: cert, key: key, log: log}
	if err := c.read(c.versions()); err != nil {
		return nil, fmt.Errorf("proxy: --cert and --key: %w", err)
	}
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}, nil
}

// certificateAge is how long the files of a certificate are not looked at again.
const certificateAge = time.Second

// certificate is that of the listener. It is read again when its files change, as
// those who renew certificates change them under a running server.
type certificate struct {
	cert, key string // files
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate // the last that could be read
	of     [2]version       // what was read last, whether it could be or not
	looked time.Time
}

// version tells two contents of a file apart. That of no file is zero.
type version struct {
	size     int64
	modified time.Time
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateAge {
		return c.pair, nil
	}
	if now := c.versions(); now != c.of {
		if err := c.read(now); err != nil {
			c.log.Warn("certificate not read again, the last one is kept", "error", err)
		} else {
			c.log.Info("certificate read again")
		}
	}
	c.looked = time.Now()
	return c.pair, nil
}

func (c *certificate) versions() (v [2]version) {
	for i, path := range [...]string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			v[i] = version{info.Size(), info.ModTime()}
		}
	}
	return v
}

// read reads the files, of which these are the versions, and leaves the last pair
// where it cannot.
func (c *certificate) read(of [2]version) error {
	c.of = of
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair = &pair
	return nil
}

// clientTLS trusts the authorities of a file (none: "") beside the system's.
func clientTLS(ca string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return config, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("proxy: --ca: %w", err)
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool() // there is none on this system
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("proxy: --ca: expected certificates in PEM form in %s", ca)
	}
	return config, nil
}
