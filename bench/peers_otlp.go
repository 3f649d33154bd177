package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
)

// encodeSpans turns each batch into what a peer sends.
func encodeSpans(batches []ptrace.Traces, encode func(ptrace.Traces) ([]byte, error)) ([][]byte, error) {
	bodies := make([][]byte, len(batches))
	for i, td := range batches {
		var err error
		if bodies[i], err = encode(td); err != nil {
			return nil, fmt.Errorf("batch %d: %w", i, err)
		}
	}
	return bodies, nil
}

func otlpProto(td ptrace.Traces) ([]byte, error) {
	return ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
}

func otlpJSON(td ptrace.Traces) ([]byte, error) {
	return ptraceotlp.NewExportRequestFromTraces(td).MarshalJSON()
}

// zipped compresses at the level of the collector's own exporters.
func zipped(td ptrace.Traces) ([]byte, error) {
	data, err := otlpProto(td)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// rawCodec sends and receives messages that are encoded already: the client's
// work would take the time in which it should load the server.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// readyGzip is gzip for messages that are compressed already. Responses are
// compressed as ever.
type readyGzip struct{}

func (readyGzip) Name() string { return "gzip" }

func (readyGzip) Compress(w io.Writer) (io.WriteCloser, error) { return openWriter{w}, nil }

func (readyGzip) Decompress(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

// openWriter has nothing to close.
type openWriter struct{ io.Writer }

func (openWriter) Close() error { return nil }

func init() { encoding.RegisterCompressor(readyGzip{}) }

const exportTraces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// grpcClient exports batches in turn over a connection of its own.
type grpcClient struct {
	conn   *grpc.ClientConn
	bodies [][]byte
	next   int
	call   []grpc.CallOption
}

func (c *grpcClient) send(ctx context.Context) error {
	body := c.bodies[c.next%len(c.bodies)]
	c.next++
	return c.export(ctx, body)
}

// export may be called by several goroutines.
func (c *grpcClient) export(ctx context.Context, body []byte) error {
	var answer []byte
	if err := c.conn.Invoke(ctx, exportTraces, body, &answer, c.call...); err != nil {
		return fmt.Errorf("exporting by gRPC: %w", err)
	}
	response := ptraceotlp.NewExportResponse()
	if err := response.UnmarshalProto(answer); err != nil {
		return fmt.Errorf("exporting by gRPC: %w", err)
	}
	return rejected(response)
}

func (c *grpcClient) close() error { return c.conn.Close() }

func rejected(response ptraceotlp.ExportResponse) error {
	if n := response.PartialSuccess().RejectedSpans(); n != 0 {
		return fmt.Errorf("%d spans were rejected: %s", n, response.PartialSuccess().ErrorMessage())
	}
	return nil
}

func dialGRPC(address string, bodies [][]byte, m *meter, first int, compressed bool) (*grpcClient, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return m.dial(ctx, "tcp", address) }))
	if err != nil {
		return nil, fmt.Errorf("dialing gRPC: %w", err)
	}
	c := &grpcClient{conn: conn, bodies: bodies, next: first, call: []grpc.CallOption{grpc.ForceCodec(rawCodec{})}}
	if compressed {
		c.call = append(c.call, grpc.UseCompressor(readyGzip{}.Name()))
	}
	return c, nil
}

// newGRPCPeer is OTLP over gRPC. Clients begin at different batches.
func newGRPCPeer(p peer, address string, bodies [][]byte, compressed bool) peer {
	p.dial = func(ctx context.Context, m *meter, i int) (client, error) {
		c, err := dialGRPC(address, bodies, m, i*len(bodies)/4, compressed)
		if err != nil {
			return nil, err
		}
		return c, c.connect(ctx)
	}
	return p
}

// connect waits for the connection, which the first call would make otherwise.
func (c *grpcClient) connect(ctx context.Context) error {
	for c.conn.Connect(); ; {
		state := c.conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		if !c.conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("connecting by gRPC: %w", ctx.Err())
		}
	}
}

// httpClient posts batches in turn over one connection.
type httpClient struct {
	url, contentType string
	status           int // that says that all was taken
	bodies           [][]byte
	next             int
	client           http.Client
	check            func(body []byte) error
}

func (c *httpClient) send(ctx context.Context) error {
	body := c.bodies[c.next%len(c.bodies)]
	c.next++
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", c.contentType)
	resp, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("posting: %w", err)
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return fmt.Errorf("posting: %w", err)
	}
	if resp.StatusCode != c.status {
		return fmt.Errorf("posting: %s", resp.Status)
	}
	return c.check(answer)
}

func (c *httpClient) close() error {
	c.client.CloseIdleConnections()
	return nil
}

// newHTTPPeer is whatever is posted.
func newHTTPPeer(p peer, kind httpClient) peer {
	p.dial = func(_ context.Context, m *meter, i int) (client, error) {
		c := kind
		c.next = i * len(c.bodies) / 4
		c.client.Transport = &http.Transport{DialContext: m.dial, MaxConnsPerHost: 1, DisableCompression: true}
		return &c, nil
	}
	return p
}

func checkOTLPProto(body []byte) error {
	response := ptraceotlp.NewExportResponse()
	if err := response.UnmarshalProto(body); err != nil {
		return fmt.Errorf("posting OTLP: %w", err)
	}
	return rejected(response)
}

func checkOTLPJSON(body []byte) error {
	response := ptraceotlp.NewExportResponse()
	if err := response.UnmarshalJSON(body); err != nil {
		return fmt.Errorf("posting OTLP: %w", err)
	}
	return rejected(response)
}
