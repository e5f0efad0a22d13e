package capture

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func TestParseEvents(t *testing.T) {
	text := `[1795400789.084602]	    [NEW] tcp      6 120 SYN_SENT src=10.244.1.7 dst=10.107.42.16 sport=21000 dport=80 [UNREPLIED] src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=21000 id=827393631
[1795400789.1]	 [UPDATE] tcp      6 432000 ESTABLISHED src=fd00::7 dst=fd00::16 sport=1 dport=80 src=::1 dst=fd00::7 sport=15001 dport=1 [ASSURED] id=5
[1795400790.000000]	[DESTROY] udp      17 src=10.244.1.7 dst=10.0.0.10 sport=5000 dport=53 zone=1 src=10.0.0.10 dst=10.244.1.7 sport=53 dport=5000 id=6
[1795400790.000000]	    [NEW] icmp     1 30 src=10.244.1.7 dst=10.0.0.10 type=8 code=0 id=9 [UNREPLIED] src=10.0.0.10 dst=10.244.1.7 type=0 code=0 id=9 id=7
garbage
[1795400790.000000]	    [NEW] tcp      6 120 SYN_SENT src=10.244.1.700 dst=10.107.42.16 sport=21000 dport=80 id=1
`
	got, gaps := ParseEvents([]byte(text))
	if len(got) != 3 {
		t.Fatalf("%d events: %+v", len(got), got)
	}
	n := got[0]
	if n.Event != "NEW" || n.State != "SYN_SENT" || n.ConntrackID != 827393631 || n.At.UnixNano() != 1795400789084602000 ||
		n.Tuple.Dst.String() != "10.107.42.16:80" || n.Reply.Src.String() != "127.0.0.1:15001" || n.Tuple.Proto != flow.TCP {
		t.Errorf("first: %+v", n)
	}
	if got[1].Reply.Src.String() != "[::1]:15001" || got[1].State != "ESTABLISHED" || got[1].At.Nanosecond() != 100000000 {
		t.Errorf("second: %+v", got[1])
	}
	if got[2].Tuple.Proto != flow.UDP || got[2].Event != "DESTROY" || got[2].State != "" {
		t.Errorf("third: %+v", got[2])
	}
	if len(gaps) != 2 || !strings.HasPrefix(gaps[0].Reason, "line 5: ") || !strings.HasPrefix(gaps[1].Reason, `line 6: original direction: address "10.244.1.700"`) {
		t.Errorf("gaps %v", gaps)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte("[1795400789.084602]\t    [NEW] tcp 6 120 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 id=3\n"))
	f.Add([]byte("[.]\n[] x y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, _ := ParseEvents(b)
		for _, e := range events {
			if !e.Tuple.Src.IsValid() || !e.Reply.Dst.IsValid() {
				t.Errorf("%+v", e)
			}
		}
	})
}
