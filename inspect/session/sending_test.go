package session

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/flow"
)

// Nothing is sent to a port that rules capture to, in whatever language and form they are
// written; to the port beside it, it is.
func TestNotSentToCapturePorts(t *testing.T) {
	const addr = `[{"ifname": "lo", "flags": ["UP"], "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
{"ifname": "eth0", "flags": ["UP"], "addr_info": [{"family": "inet", "local": "10.244.1.7", "prefixlen": 24}]}]`
	nft := func(chain, expr string) inspect.Files {
		return inspect.Files{"nft.json": []byte(`{"nftables": [{"table": {"family": "ip", "name": "t", "handle": 1}}, {"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1, ` + chain + `}},
{"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 2, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "127.0.0.0", "len": 8}}}}, ` + expr + `]}}]}`)}
	}
	for what, files := range map[string]inspect.Files{
		"iptables":        {"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT ! -d 127.0.0.0/8 -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n")},
		"a range of it":   {"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT ! -d 127.0.0.0/8 -p tcp -j REDIRECT --to-ports 15000-15001\nCOMMIT\n")},
		"nft":             nft(`"type": "nat", "hook": "output", "prio": -100, "policy": "accept"`, `{"redirect": {"port": 15001}}`),
		"nft's range":     nft(`"type": "nat", "hook": "output", "prio": -100, "policy": "accept"`, `{"redirect": {"port": {"range": [15000, 15001]}}}`),
		"nft with TPROXY": nft(`"type": "filter", "hook": "prerouting", "prio": -150, "policy": "accept"`, `{"tproxy": {"addr": "127.0.0.1", "port": 15001}}`),
	} {
		files["addr.json"] = []byte(addr)
		pod := saved.New(what, files)
		for port, want := range map[uint16]error{15001: ErrCapturePort, 15002: inspect.ErrReadOnly} {
			q := flow.Request{Dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Proto: flow.TCP}
			if _, _, err := Confirm(context.Background(), pod, read(t, pod), q, ConfirmOptions{Send: true}); !errors.Is(err, want) {
				t.Errorf("%s, port %d: %v, want %v", what, port, err, want)
			}
		}
	}
}
