package coverage

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// The idle connections that are measured, and for how long.
const (
	idleConns  = 2000
	idleRounds = 3
)

// idle measures connections that have carried a request and now wait: the CPU
// time that the server uses while they do, and the memory of each.
func (b *Bench) idle(ctx context.Context, secure bool) ([]measure.Figure, error) {
	name := ""
	if secure {
		name = ", TLS"
	}
	var memory, bytes, cpu []float64
	for range idleRounds {
		plain, used, err := b.idleOf(ctx, "plain", secure)
		if err != nil {
			return nil, err
		}
		wrapped, usedWrapped, err := b.idleOf(ctx, "wrapped", secure)
		if err != nil {
			return nil, err
		}
		memory, bytes = append(memory, wrapped/plain), append(bytes, wrapped-plain)
		cpu = append(cpu, float64(usedWrapped-used)/float64(b.Each)/idleConns*100)
	}
	return []measure.Figure{
		measure.Info("memory an idle connection"+name+", of the server without", "×", measure.SpreadOf(memory)),
		measure.Info("memory an idle connection"+name+", more", "B", measure.SpreadOf(bytes)),
		measure.Info("CPU while a connection is idle"+name+", more", "% of a core", measure.SpreadOf(cpu)),
	}, nil
}

// idleOf returns the bytes of a connection, and the CPU time of all.
func (b *Bench) idleOf(ctx context.Context, variant string, secure bool) (each float64, used time.Duration, err error) {
	c, err := b.start(ctx, variant)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	addr, config := c.plain, (*tls.Config)(nil)
	if secure {
		addr, config = c.secure, only("http/1.1")
	}
	conns := make([]net.Conn, 0, idleConns)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	open := func(n int) error {
		for range n {
			conn, err := dial(addr, config)
			if err != nil {
				return err
			}
			conns = append(conns, conn)
			if err := ask(conn, bufio.NewReader(conn)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := open(idleConns / 10); err != nil { // what the server makes once
		return 0, 0, err
	}
	_, before, err := c.usage("memory")
	if err != nil {
		return 0, 0, err
	}
	if err := open(idleConns - idleConns/10); err != nil {
		return 0, 0, err
	}
	cpu, after, err := c.usage("memory")
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(b.Each):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	later, _, err := c.usage("cpu")
	return float64(after-before) / (idleConns - idleConns/10), later - cpu, err
}
