package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/meshtop/meshtop/inspect/netns"
)

// Addresses of the lab.
const (
	PodAddr   = "10.244.1.7"
	PodAddr6  = "fd00:244:1::7"
	PeerAddr  = "10.244.1.1" // a client outside
	OtherAddr = "10.244.1.9" // another one
	AppUID    = 101
	EnvoyUID  = 1337
)

// hosts is what names mean in the pod: Envoy's c-ares reads it for LOGICAL_DNS clusters.
const hosts = `127.0.0.1 localhost
203.0.113.10 baidu.com www.baidu.com
10.107.42.21 app.v1.svc.cluster.local
10.107.42.22 app.v2.svc.cluster.local
10.107.42.30 auth.svc.cluster.local
`

// podLinks and outLinks are `ip -batch` commands. Neighbours are permanent and addresses
// need no detection of duplicates, so that the first packet goes out at once.
const podLinks = `link set lo up
link add eth0 address 02:00:00:00:00:07 type veth peer name eth0 address 02:00:00:00:00:01 netns OUT
addr add 10.244.1.7/24 dev eth0
addr add fd00:244:1::7/64 dev eth0 nodad
link set eth0 up
route add default via 10.244.1.1
route add default via fd00:244:1::1
neigh add 10.244.1.1 lladdr 02:00:00:00:00:01 dev eth0
neigh add 10.244.1.9 lladdr 02:00:00:00:00:01 dev eth0
neigh add fd00:244:1::1 lladdr 02:00:00:00:00:01 dev eth0
`

const outLinks = `link set lo up
addr add 10.244.1.1/24 dev eth0
addr add 10.244.1.9/24 dev eth0
addr add fd00:244:1::1/64 dev eth0 nodad
addr add 10.107.42.16/32 dev lo
addr add 10.107.42.21/32 dev lo
addr add 10.107.42.22/32 dev lo
addr add 10.107.42.30/32 dev lo
addr add 10.0.0.9/32 dev lo
addr add 10.0.0.99/32 dev lo
addr add 203.0.113.10/32 dev lo
addr add fd00:107::16/128 dev lo nodad
link set eth0 up
neigh add 10.244.1.7 lladdr 02:00:00:00:00:07 dev eth0
neigh add fd00:244:1::7 lladdr 02:00:00:00:00:07 dev eth0
`

// hole drops what is sent to 10.0.0.99: an address that never answers.
const hole = `add table inet hole
add chain inet hole in { type filter hook input priority 0; }
add rule inet hole in ip daddr 10.0.0.99 drop
`

// link makes the two namespaces and what joins them.
func (l *Lab) link() error {
	etc := filepath.Join(etcNetns, l.Pod())
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"hosts": hosts, "resolv.conf": "nameserver 127.0.0.1\n"} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	var err error
	if l.pod, err = makeSpace(l.Pod()); err != nil {
		return err
	}
	if l.out, err = makeSpace(l.Out()); err != nil {
		return err
	}
	noise := map[string]string{"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/router_solicitations": "0"}
	for _, s := range []*netns.Space{l.pod, l.out} {
		if err := sysctl(s, noise); err != nil {
			return err
		}
	}
	if err := feed(l.pod, strings.ReplaceAll(podLinks, "OUT", l.out.Path()), "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := feed(l.out, outLinks, "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := sysctl(l.pod, map[string]string{"net/ipv4/ip_unprivileged_port_start": "0"}); err != nil {
		return err
	}
	return feed(l.out, hole, "nft", "-f", "-")
}

// makeSpace makes a namespace with a name, so that `ip netns exec` finds it too.
func makeSpace(name string) (*netns.Space, error) {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ip netns add %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return netns.Named(name)
}

// feed runs a program in s with text as its input.
func feed(s *netns.Space, text, name string, args ...string) error {
	return s.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}

// sysctl writes settings: /proc/sys/net is that of the thread that opens it.
func sysctl(s *netns.Space, set map[string]string) error {
	return s.Do(func() error {
		for k, v := range set {
			if err := os.WriteFile("/proc/sys/"+k, []byte(v), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}
