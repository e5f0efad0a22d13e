package kernel

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/netfilter"
)

// linear is a nat table with n rules of which none matches, as kube-proxy writes them.
func linear(n int) string {
	var b strings.Builder
	b.WriteString("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
	for i := range n {
		fmt.Fprintf(&b, "-A OUTPUT -d 172.%d.%d.%d/32 -p tcp -m comment --comment \"ns/svc-%d:http cluster IP\" -m tcp --dport 80 -j REDIRECT --to-ports 15001\n", 16+i>>16, i>>8&255, i&255, i)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// Reading 20,000 rules live: what iptables-nft-save costs in CPU, and what reading and
// parsing add to it.
func BenchmarkRead20000(b *testing.B) {
	l := New(b)
	if _, err := l.pod.run(linear(20000), "iptables-nft-restore"); err != nil {
		b.Fatal(err)
	}
	var save []byte
	b.Run("iptables-nft-save", func(b *testing.B) {
		var cpu time.Duration
		for range b.N {
			var err error
			var used time.Duration
			if save, used, err = l.save(); err != nil {
				b.Fatal(err)
			}
			cpu += used
		}
		b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/op")
	})
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(save)))
		before := ownCPU()
		for range b.N {
			if _, _, err := netfilter.Parse(map[string][]byte{"iptables-save": save}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((ownCPU()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	})
}

// save runs iptables-nft-save in the pod and says how much CPU it took.
func (l *Lab) save() (out []byte, cpu time.Duration, err error) {
	err = l.pod.do(func() error {
		c := exec.Command("iptables-nft-save")
		out, err = c.Output()
		if c.ProcessState != nil {
			cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		}
		return err
	})
	return out, cpu, err
}

func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
