package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Taken counts the connections that Envoy's listeners took so far, its admin's left out: also
// those without a filter chain, which downstream_cx_total leaves out. Envoy counts a
// connection before its client can see an answer.
func (l *Lab) Taken(ctx context.Context, adminPort uint16) (uint64, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var conn net.Conn
		err := l.pod.DoAs(EnvoyUID, EnvoyUID, func() error {
			var d net.Dialer
			var err error
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/stats?filter=^listener%%5C.", adminPort), nil)
	if err != nil {
		return 0, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var sum uint64
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.HasPrefix(name, "listener.admin.") || strings.Contains(name, ".worker_") {
			continue
		}
		if strings.HasSuffix(name, ".downstream_cx_total") || strings.HasSuffix(name, ".no_filter_chain_match") {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("statistic %q: %w", name, err)
			}
			sum += n
		}
	}
	return sum, nil
}
