package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// rowCount is how many rules and connections the lists have.
const rowCount = 20_000

// manyRows writes a snapshot of a pod with that many rules and connections, and gives its size
// in MB.
func manyRows(dir string) (mb float64, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	var rules, conns bytes.Buffer
	rules.WriteString("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
	for i := range rowCount {
		fmt.Fprintf(&rules, "-A OUTPUT -d 10.%d.%d.%d/32 -p tcp -m tcp --dport %d -j REDIRECT --to-ports 15001\n", 100+i>>16, i>>8&255, i&255, 1024+i%40000)
		fmt.Fprintf(&conns, "ipv4     2 tcp      6 431999 ESTABLISHED src=10.1.7.4 dst=10.%d.%d.%d sport=%d dport=443 packets=9 bytes=%d src=10.%d.%d.%d dst=10.1.7.4 sport=443 dport=%d packets=7 bytes=4000 [ASSURED] mark=0 use=1\n",
			100+i>>16, i>>8&255, i&255, 20000+i, 1000+i, 100+i>>16, i>>8&255, i&255, 20000+i)
	}
	rules.WriteString("COMMIT\n")
	files := map[string][]byte{
		"iptables-save": rules.Bytes(), "conntrack": conns.Bytes(),
		"addr.json": []byte(`[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","scope":"host"}]},{"ifname":"eth0","addr_info":[{"local":"10.1.7.4","scope":"global"}]}]`),
	}
	for name, data := range files {
		mb += float64(len(data)) / 1e6
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return 0, err
		}
	}
	return mb, nil
}

// rowLegs go through the long lists: connections, the file of the rules, the rules of a step.
func rowLegs() []leg {
	all := fmt.Sprintf("of %d", rowCount)
	return []leg{
		{"the overview", "", []string{"live connections", all}, nil, 0},
		{"connections, all found", "", []string{"1 finding"}, []string{"j", "j", ctrlD, "k", "G", "k", "g", "j"}, 25},
		{"connections, the filter", "/", []string{all}, []string{"4", "4", "3", backspace, backspace, backspace}, 34},
		{"the filter given up", esc, []string{all, "/ filter", "dir  from"}, nil, 0},
		{"the trace of the last", "G" + enter, []string{"▸ Trace", "nat OUTPUT", "DELIVERED"}, nil, 0},
		{"the step of the rules", "gjj", []string{"evidence · step 3 nat OUTPUT"}, []string{"j", "k", "a", "k", "j", "a"}, 34},
		{"its raw rules", enter, []string{"▸ Config", fmt.Sprintf("/%d", rowCount+6)}, []string{"j", ctrlD, "k", "G", ctrlU, "g"}, 34},
		{"a search in them", "g/dport 2000" + enter, []string{`"dport 2000"`}, []string{"n", "n", "N"}, 67},
	}
}
