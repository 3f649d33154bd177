package wsstats

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// The environment that the agent reads. The OTEL_ ones are OpenTelemetry's
// (specification, "Environment Variable Specification", General SDK Configuration).
const (
	envEndpoint   = "WSSTATS_ENDPOINT"
	envToken      = "WSSTATS_TOKEN"
	envAggregates = "WSSTATS_AGGREGATES"
	envService    = "OTEL_SERVICE_NAME"
	envAttributes = "OTEL_RESOURCE_ATTRIBUTES"
)

const keyService = "service.name"

// newInstance names one counter of numbers: 32 hex digits from 128 random bits.
func newInstance() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newResource joins the environment, the stated attributes and the service
// name; the later goes before the earlier. On an error of the environment the
// resource is that without OTEL_RESOURCE_ATTRIBUTES.
func newResource(service string, stated map[string]string) ([]wire.KeyValue, error) {
	attributes, err := parseAttributes(os.Getenv(envAttributes))
	if attributes == nil {
		attributes = map[string]string{}
	}
	if name := os.Getenv(envService); name != "" {
		attributes[keyService] = name
	}
	maps.Copy(attributes, stated)
	if service != "" {
		attributes[keyService] = service
	}
	resource := make([]wire.KeyValue, 0, len(attributes))
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		resource = append(resource, wire.KeyValue{Key: key, Value: wire.StringValue(attributes[key])})
	}
	return resource, err
}

// parseAttributes reads the form of OTEL_RESOURCE_ATTRIBUTES: key=value pairs
// parted by commas, percent-encoded. One bad pair makes the whole of it bad, as
// the specification has it.
func parseAttributes(s string) (map[string]string, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	attributes := map[string]string{}
	for i, pair := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key, err := url.PathUnescape(strings.TrimSpace(key))
		if err != nil || !ok || key == "" {
			return nil, fmt.Errorf("%s: pair %d: expected key=value", envAttributes, i+1)
		}
		value, err = url.PathUnescape(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: expected a percent-encoded value", envAttributes, key)
		}
		attributes[key] = value
	}
	return attributes, nil
}
