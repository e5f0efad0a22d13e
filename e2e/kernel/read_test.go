package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
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

// Reading 20,000 rules live costs no more CPU than iptables-nft-save: a process that reads
// the whole pod (inspect/local), its children included, in turns with the tool. What parsing
// adds stands beside it.
func BenchmarkRead20000(b *testing.B) {
	l := New(b)
	if _, err := l.pod.run(linear(20000), "iptables-nft-restore"); err != nil {
		b.Fatal(err)
	}
	var save []byte
	var tool, ours []time.Duration
	b.Run("live", func(b *testing.B) {
		for range b.N {
			out, used, err := l.used("iptables-nft-save")
			if err != nil {
				b.Fatal(err)
			}
			save, tool = out, append(tool, used)
			if _, used, err = l.used(os.Args[0]); err != nil {
				b.Fatal(err)
			}
			ours = append(ours, used)
		}
		b.ReportMetric(float64(slices.Min(tool).Milliseconds()), "tool-cpu-ms")
		b.ReportMetric(float64(slices.Min(ours).Milliseconds()), "read-cpu-ms")
		b.ReportMetric(slices.Min(ours).Seconds()/slices.Min(tool).Seconds(), "ratio")
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

// readChild is set for the process that only reads.
const readChild = "MESHTOP_READ_CHILD"

// TestMain is the tests, or the process that reads the namespace it is in, whole.
func TestMain(m *testing.M) {
	if os.Getenv(readChild) == "" {
		os.Exit(m.Run())
	}
	p, err := local.Own(local.Options{})
	if err == nil {
		var s inspect.Snapshot
		if s, err = p.Read(context.Background(), inspect.Want{}); err == nil && (len(s.Files["iptables-save"]) == 0 || len(s.Files["nft.json"]) == 0) {
			err = fmt.Errorf("not read: %v", s.Gaps)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// used runs a program in the pod and says how much CPU it and its children took.
func (l *Lab) used(name string, args ...string) (out []byte, cpu time.Duration, err error) {
	err = l.pod.do(func() error {
		c := exec.Command(name, args...)
		c.Env = append(os.Environ(), readChild+"=1")
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
