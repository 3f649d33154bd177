package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wsstatsIn runs the program with this input and returns its exit status and
// what it wrote.
func wsstatsIn(ctx context.Context, input string, args ...string) (status int, out, errs string) {
	var outBuf, errBuf bytes.Buffer
	status = run(ctx, args, streams{strings.NewReader(input), &outBuf, &errBuf})
	return status, outBuf.String(), errBuf.String()
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		args      string
		status    int
		out, errs string // contained in it; "": it is empty
	}{
		{"", 0, "wsstats gen ", ""},
		{"help", 0, "wsstats validate ", ""},
		{"--help", 0, "wsstats version ", ""},
		{"help gen", 0, "--scenario name        name of the scenario (default steady)", ""},
		{"gen -h", 0, "slow-consumer    a tenth of the connections", ""},
		{"help validate", 0, "usage: wsstats validate [flags] FILE|-", ""},
		{"help version", 0, "usage: wsstats version", ""},
		{"version", 0, "wsstats 0.1.0\n", ""},
		{"--version", 0, "wsstats 0.1.0\n", ""},
		{"generate", 2, "", `unknown command "generate": expected proxy, gen, replay, validate, version or help`},
		{"help generate", 2, "", `unknown command "generate"`},
		{"gen --speed 3", 2, "", "not defined: -speed (wsstats help gen tells the flags)"},
		{"gen now", 2, "", `unexpected argument "now"`},
		{"validate", 2, "", "expected an argument (wsstats help validate tells which)"},
		{"validate --events 0 -", 2, "", "--events: expected at least 1, got 0"},
		{"help proxy", 0, "--target URL           URL of the application", ""},
		{"proxy", 2, "", "--target: expected the application's URL, such as http://localhost:3000"},
		{"proxy --target localhost:3000", 2, "", "--target: expected http or https, a host and a port alone"},
		{"proxy --target http://user:secret@localhost", 2, "", "--target: expected http or https, a host and a port alone"},
		{"proxy --target http://localhost/chat?key=secret", 2, "", "--target: expected http or https, a host and a port alone"},
		{"proxy --target http://localhost --drain -1s", 2, "", "--drain: expected a time such as 30s, got -1s"},
		{"proxy --target http://localhost --max-connections -1", 2, "", "--max-connections: expected at least 0, got -1"},
		{"proxy --target http://localhost --cert x", 2, "", "--cert and --key: expected both or none"},
		{"proxy --target http://localhost --collector http://localhost", 2, "", "endpoint: expected the scheme ws or wss"},
		{"replay", 2, "", "expected an argument (wsstats help replay tells which)"},
		{"replay a b", 2, "", `unexpected argument "a"`},
		{"replay -", 2, "", "expected a file, which is read twice"},
		{"replay x --speed 0", 2, "", `--speed: expected a number above 0 or max, got "0"`},
		{"replay --speed fast x", 2, "", `--speed: expected a number above 0 or max, got "fast"`},
		{"replay --speed Inf x", 2, "", `--speed: expected a number above 0 or max, got "Inf"`},
		{"replay x --drain 0s", 2, "", "--drain: expected a time above 0"},
		{"replay x --endpoint http://localhost", 2, "", "replay: --endpoint: expected a URL such as ws://localhost:4390/v1/wsstats"},
		{"replay absent.jsonl", 1, "", "replay: open absent.jsonl"},
		{"gen --scenario stedy", 2, "", `--scenario "stedy": expected one of steady, burst,`},
		{"gen --endpoint http://localhost", 2, "", "--endpoint: expected a URL such as ws://localhost:4390/v1/wsstats"},
		{"gen --endpoint ws://user:secret@localhost", 2, "", "endpoint: user information is not sent"},
		{"gen --rate 0", 2, "", "--rate: expected more than 0"},
		{"gen --rate NaN", 2, "", "--rate: expected more than 0"},
		{"gen --agents 0", 2, "", "--agents: expected 1 to 100000, got 0"},
		{"gen --agents 10 --connections 9", 2, "", "--connections: expected at least one for each of 10 agents"},
		{"gen --duration -1s", 2, "", "expected times above 0"},
		{"gen --sampling 2", 2, "", "--sampling: expected 0 to 1, got 2"},
		{"gen --queue-bytes 1", 2, "", "queue: expected at least 16384 bytes"},
		{"gen --encoding xml", 2, "", `encoding: expected proto or json, got "xml"`},
		{"gen --scenario malformed --encoding proto", 2, "", "--encoding: the scenario malformed is of JSON"},
		{"gen --scenario malformed --ledger x", 2, "", "has no events to account for"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			status, out, errs := wsstatsIn(t.Context(), "", strings.Fields(tt.args)...)
			assert.Equal(t, tt.status, status)
			assert.Equal(t, tt.out == "", out == "", out)
			assert.Contains(t, out, tt.out)
			assert.Equal(t, tt.errs == "", errs == "", errs)
			assert.Contains(t, errs, tt.errs)
			assert.NotContains(t, errs, "secret")
		})
	}
}
