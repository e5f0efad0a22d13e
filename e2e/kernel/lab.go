// Package kernel asks the running kernel what it does with a packet: fresh network
// namespaces, a rule set, one real packet, and the rules that it hit in order. It is the
// judge of rules/netfilter.
package kernel

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// Addresses of the lab. The pod has a second address on eth0 and a second device, so that
// "the first address" and "the device" are real choices.
const (
	PodAddr   = "10.244.1.7"
	PodAddr2  = "10.244.1.8"
	PodAddr6  = "fd00:1::7"
	Pod1Addr  = "10.9.0.7" // on eth1
	Pod1Addr6 = "fd00:9::7"
	PeerAddr  = "10.244.1.1"
	PeerAddr6 = "fd00:1::1"
	Service   = "10.107.42.16" // an address of the peer, by the default route
	Service6  = "fd00:107::16"
)

// Lab is a pod and its peer: two namespaces joined by two links, and a third that only
// keeps time (see fence).
type Lab struct {
	pod, peer, clock *space
	tracer           *tracer
	listeners        []int // TCP
	receivers        []int // UDP
	fence            fence
	cpu              int
	host             map[string][]byte // what the host's parts say; nil: read again
	legacy           bool              // legacy tables were made: they cannot be unmade
	sets             bool              // ipsets are loaded
	index            index
}

// New builds a lab, and takes it down when the test ends. It needs root and the tools.
func New(t testing.TB) *Lab {
	t.Helper()
	power.Root(t)
	power.Tools(t, "ip", "ss", "nft", "conntrack", "ipset", "iptables-nft-restore", "iptables-legacy-restore", "ip6tables-nft-save", "ip6tables-legacy-save")
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// Open builds a lab; the caller closes it.
func Open() (*Lab, error) {
	l := &Lab{}
	if err := l.build(); err != nil {
		l.Close()
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	return l, nil
}

// Close takes the lab down; it may be called twice.
func (l *Lab) Close() {
	closeAll(l.listeners)
	closeAll(l.receivers)
	l.listeners, l.receivers = nil, nil
	l.tracer.close()
	l.fence.close()
	for _, s := range []*space{l.pod, l.peer, l.clock} {
		s.close()
	}
}

func (l *Lab) build() error {
	for _, s := range []**space{&l.pod, &l.peer, &l.clock} {
		var err error
		if *s, err = newSpace(); err != nil {
			return err
		}
	}
	for _, step := range []func() error{l.link, l.sysctls, l.listen, l.openFence, l.openTracer} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// link joins the namespaces. Neighbours are permanent and addresses need no detection of
// duplicates, so that the first packet goes out at once.
func (l *Lab) link() error {
	peerNS := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), l.peer.fd)
	pod := strings.ReplaceAll(`link set lo up
link add eth0 address 02:00:00:00:00:07 type veth peer name eth0 address 02:00:00:00:00:01 netns PEER
link add eth1 address 02:00:00:00:01:07 type veth peer name eth1 address 02:00:00:00:01:01 netns PEER
addr add 10.244.1.7/24 dev eth0
addr add 10.244.1.8/24 dev eth0
addr add fd00:1::7/64 dev eth0 nodad
addr add fd00:1::8/64 dev eth0 nodad
addr add 10.9.0.7/24 dev eth1
addr add fd00:9::7/64 dev eth1 nodad
link set eth0 up
link set eth1 up
route add default via 10.244.1.1
route add default via fd00:1::1
route add 10.9.0.0/16 via 10.9.0.1
rule add fwmark 0x539 lookup 133
route add local default dev lo table 133
neigh add 10.244.1.1 lladdr 02:00:00:00:00:01 dev eth0
neigh add 10.9.0.1 lladdr 02:00:00:00:01:01 dev eth1
neigh add fd00:1::1 lladdr 02:00:00:00:00:01 dev eth0
neigh add fd00:9::1 lladdr 02:00:00:00:01:01 dev eth1
`, "PEER", peerNS)
	peer := `link set lo up
addr add 10.244.1.1/24 dev eth0
addr add 10.107.42.16/32 dev lo
addr add fd00:1::1/64 dev eth0 nodad
addr add fd00:107::16/128 dev lo nodad
addr add 10.9.0.1/24 dev eth1
addr add fd00:9::1/64 dev eth1 nodad
link set eth0 up
link set eth1 up
neigh add 10.244.1.7 lladdr 02:00:00:00:00:07 dev eth0
neigh add 10.244.1.8 lladdr 02:00:00:00:00:07 dev eth0
neigh add fd00:1::7 lladdr 02:00:00:00:00:07 dev eth0
neigh add fd00:1::8 lladdr 02:00:00:00:00:07 dev eth0
neigh add 10.9.0.7 lladdr 02:00:00:00:01:07 dev eth1
neigh add fd00:9::7 lladdr 02:00:00:00:01:07 dev eth1
route add default via 10.244.1.7 dev eth0
route add default via fd00:1::7 dev eth0
route add default via 10.9.0.7 dev eth1 metric 9
route add default via fd00:9::7 dev eth1 metric 9000
`
	for _, s := range []*space{l.pod, l.peer} {
		if err := s.sysctl(map[string]string{"net.ipv6.conf.all.accept_dad": "0", "net.ipv6.conf.default.accept_dad": "0", "net.ipv6.conf.default.router_solicitations": "0"}); err != nil {
			return err
		}
	}
	if _, err := l.pod.run(pod, "ip", "-batch", "-"); err != nil {
		return err
	}
	if _, err := l.pod.run("rule add fwmark 0x539 lookup 133\nroute add local default dev lo table 133\n", "ip", "-6", "-batch", "-"); err != nil {
		return err
	}
	if _, err := l.peer.run(peer, "ip", "-batch", "-"); err != nil {
		return err
	}
	_, err := l.clock.run("link set lo up\n", "ip", "-batch", "-")
	return err
}

func (l *Lab) sysctls() error {
	return l.peer.sysctl(map[string]string{"net.ipv4.conf.all.rp_filter": "0"})
}

// sysctl writes settings of the namespace: /proc/sys/net is that of the thread that opens it.
func (s *space) sysctl(set map[string]string) error {
	return s.do(func() error {
		for k, v := range set {
			if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(k, ".", "/"), []byte(v), 0o644); err != nil {
				return fmt.Errorf("sysctl %s: %w", k, err)
			}
		}
		return nil
	})
}
