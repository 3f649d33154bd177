package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// idVectors are protocol/vectors/ids.json. They were not made by this code.
type idVectors struct {
	Mix []struct{ X, Y string }
	IDs []struct {
		Name         string
		ConnectionID *string `json:"connection_id"`
		MessageID    *string `json:"message_id"`
		Instance     *string
		Words        []string
		Seq          string
		Index        uint64
		Ordinal      string
		Slot         Slot
		Kind, Role   string
		TraceID      string `json:"trace_id"`
		SpanID       string `json:"span_id"`
		Randomness   string
	}
	Thresholds []struct {
		Ratio     float64
		Threshold string
	}
	Sampling []struct {
		Randomness, Threshold string
		Keep                  bool
	}
}

func readIDVectors(t *testing.T) (v idVectors) {
	t.Helper()
	data, err := os.ReadFile("../protocol/vectors/ids.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &v))
	return v
}

func hex64(t *testing.T, s string) uint64 {
	t.Helper()
	u, err := strconv.ParseUint(s, 16, 64)
	require.NoError(t, err)
	return u
}

func TestMixVectors(t *testing.T) {
	v := readIDVectors(t)
	require.NotEmpty(t, v.Mix)
	for _, m := range v.Mix {
		assert.Equal(t, hex64(t, m.Y), mix(hex64(t, m.X)), m.X)
	}
}

func TestIDVectors(t *testing.T) {
	v := readIDVectors(t)
	require.Greater(t, len(v.IDs), 100)
	slots := map[Slot]bool{}
	kinds := map[Kind]bool{}
	for _, c := range v.IDs {
		var seed Seed
		switch {
		case c.Words != nil:
			seed = Seed{hex64(t, c.Words[0]), hex64(t, c.Words[1]), hex64(t, c.Words[2]), hex64(t, c.Words[3])}
		case c.Instance != nil:
			seed = InstanceSeed(*c.Instance)
		case c.MessageID != nil:
			seed = MessageSeed(*c.ConnectionID, *c.MessageID)
		default:
			seed = ConnectionSeed(*c.ConnectionID)
		}
		n, err := strconv.ParseUint(c.Ordinal, 10, 64)
		require.NoError(t, err)
		if c.Seq != "" {
			seq, err := strconv.ParseUint(c.Seq, 10, 64)
			require.NoError(t, err)
			assert.Equal(t, n, (seq<<16|c.Index)&(1<<56-1), c.Name)
		}
		kind, ok := ParseKind(c.Kind)
		require.True(t, ok, c.Kind)
		slots[c.Slot], kinds[kind] = true, true
		assert.Equal(t, c.TraceID, fmt.Sprintf("%x", seed.TraceID(n, c.Slot)), c.Name)
		assert.Equal(t, c.SpanID, fmt.Sprintf("%x", seed.SpanID(n, c.Slot, kind, ParseRole(c.Role))), c.Name)
		assert.Equal(t, c.Randomness, FormatRandomness(seed.Randomness()), c.Name)
	}
	assert.Len(t, slots, 11, "every slot")
	assert.Len(t, kinds, int(numKinds)-1, "every kind")
}

func TestThresholdVectors(t *testing.T) {
	v := readIDVectors(t)
	require.NotEmpty(t, v.Thresholds)
	for _, c := range v.Thresholds {
		got := ThresholdFromRatio(c.Ratio)
		assert.Equal(t, c.Threshold, FormatThreshold(got), c.Ratio)
		parsed, ok := ParseThreshold(c.Threshold)
		assert.True(t, ok)
		assert.Equal(t, got, parsed)
	}
	for _, c := range v.Sampling {
		r, ok := ParseRandomness(c.Randomness)
		require.True(t, ok)
		th, ok := ParseThreshold(c.Threshold)
		require.True(t, ok)
		assert.Equal(t, c.Keep, r >= th, c)
	}
}
