package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const grpcConfig = `{
	admin off
	skip_install_trust
	default_bind 127.0.0.1
	http_port %d
	soc2 {
		profile strict
	}
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
https://localhost:%d {
	tls internal
	reverse_proxy h2c://%s
}
`

// rpcs is a gRPC service that answers in each of the ways that there are.
type rpcs struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (rpcs) UnaryCall(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	if r.GetResponseSize() < 0 {
		return nil, status.Error(codes.OutOfRange, "no size: 100 % less")
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-first", "1"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-last-bin", "\x00\xff", "server", "gRPC", "x-powered-by", "Go"))
	return &grpc_testing.SimpleResponse{Payload: &grpc_testing.Payload{Body: make([]byte, r.GetResponseSize())}}, nil
}

// FullDuplexCall answers each message before the next one comes.
func (rpcs) FullDuplexCall(stream grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	for {
		m, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // gRPC returns it bare
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

// grpcSite starts a gRPC service behind the profile strict.
func grpcSite(t *testing.T) (home, *process, grpc_testing.TestServiceClient) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(srv, rpcs{})
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-served })

	h := newHome(t)
	secure := freePort(t)
	addr := fmt.Sprintf("localhost:%d", secure)
	name := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(name, fmt.Appendf(nil, grpcConfig, freePort(t), secure, ln.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	tlsReady(t, addr)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return h, p, grpc_testing.NewTestServiceClient(conn)
}

// TestRPCsPassUnchanged makes calls through the profile strict: their messages,
// metadata and states arrive as they were sent, but for what tells of the server.
func TestRPCsPassUnchanged(t *testing.T) {
	_, _, client := grpcSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var header, trailer metadata.MD
	const size = 1 << 20
	got, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{ResponseSize: size}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || len(got.GetPayload().GetBody()) != size {
		t.Fatalf("%d bytes, %v", len(got.GetPayload().GetBody()), err)
	}
	if !slices.Equal(header["x-first"], []string{"1"}) || !slices.Equal(header["x-content-type-options"], []string{"nosniff"}) || !slices.Equal(header["content-type"], []string{"application/grpc"}) {
		t.Errorf("header %v", header)
	}
	if !slices.Equal(trailer["x-last-bin"], []string{"\x00\xff"}) || trailer["server"] != nil || trailer["x-powered-by"] != nil {
		t.Errorf("trailer %v", trailer)
	}

	_, err = client.UnaryCall(ctx, &grpc_testing.SimpleRequest{ResponseSize: -1})
	if s := status.Convert(err); s.Code() != codes.OutOfRange || s.Message() != "no size: 100 % less" {
		t.Errorf("%v", err)
	}
	_, err = client.EmptyCall(ctx, &grpc_testing.Empty{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}

	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		message := []byte(fmt.Sprint("message ", i))
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: message}}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv() // would not come if something held it back
		if err != nil || string(got.GetPayload().GetBody()) != string(message) {
			t.Fatalf("%d: %v, %v", i, got, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF { //nolint:errorlint // gRPC returns it bare
		t.Errorf("%v", err)
	}
}
