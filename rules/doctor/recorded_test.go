package doctor

import (
	"archive/zip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules"
)

// scenes reads the built-in recordings by scene.
func scenes(t *testing.T) map[string]map[string][]byte {
	t.Helper()
	z, err := zip.OpenReader("../../inspect/saved/scenes.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]map[string][]byte{}
	for _, f := range z.File {
		scene, part, ok := strings.Cut(f.Name, "/")
		if !ok || part == "" {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if out[scene] == nil {
			out[scene] = map[string][]byte{}
		}
		out[scene][part] = data
	}
	return out
}

// What the recorded pods are like is known: which direction each captures, and that its
// IPv6 address is not covered.
func TestScenes(t *testing.T) {
	for scene, want := range map[string][]string{
		"inbound":        {"problem ipv6-bypass inbound | fd00:244:1::7", "warning only-inbound 15006", "warning only-ports inbound | 80 | IPv4"},
		"block-all":      {"problem ipv6-bypass outbound | fd00:244:1::7", "warning only-outbound 15001", "note udp-bypass"},
		"allow-all":      {"problem ipv6-bypass outbound | fd00:244:1::7", "warning only-outbound 15001", "note udp-bypass"},
		"mesh":           {"problem ipv6-bypass outbound | fd00:244:1::7", "warning only-outbound 15001", "note udp-bypass"},
		"header-match":   {"warning no-interception"}, // gateways are addressed, nothing is redirected
		"http-ratelimit": {"warning no-interception"},
		"both":           {"warning only-ports inbound | 80 | IPv4", "note udp-bypass"},
	} {
		s, err := rules.ParseSnapshot(scenes(t)[scene], nil)
		if err != nil {
			t.Errorf("%s: %v", scene, err)
			continue
		}
		if got := said(Examine(s)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got\n  %s\nwant\n  %s", scene, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
}

// The rule sets of real meshes, read back from the kernel: what each says about itself.
func TestRealSets(t *testing.T) {
	sets := map[string]map[string][]byte{}
	for _, f := range packed.Files(t, "../../e2e/kernel/testdata/real.txtar.gz") {
		name, rest, _ := strings.Cut(f.Name, ".")
		part := map[string]string{"v4.nft.save": "iptables-save", "v6.nft.save": "ip6tables-save", "v4.legacy.save": "iptables-legacy-save", "v6.legacy.save": "ip6tables-legacy-save"}[rest]
		if part == "" {
			continue
		}
		key := name + strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(rest, "v4"), "v6"), ".save")
		if sets[key] == nil {
			sets[key] = map[string][]byte{"addr.json": []byte(only4), "route.json": []byte(route4)}
		}
		sets[key][part] = f.Data
	}
	for name, want := range map[string]string{
		"seed-outbound.nft":    "[warning only-outbound 15001 note udp-bypass]",
		"seed-outbound.legacy": "[warning only-outbound 15001 note udp-bypass]",
		// Its chart leaves 4190 and 4191 of the proxy, and 4567 and 4568 of an old default, alone.
		"linkerd-default.nft": "[warning excluded-ports outbound | 4567-4568 | IPv4 warning excluded-ports inbound | 4190-4191, 4567-4568 | IPv4 note udp-bypass]",
		// Inbound by TPROXY, outbound to one range by REDIRECT, DNS at 127.0.0.53.
		"istio-sidecar-tproxy.nft":                    "[warning only-ranges outbound | 9.9.0.0/16 | IPv4 note udp-bypass dns note unreachable-chain ip nat ISTIO_INBOUND note unreachable-chain ip6 nat ISTIO_INBOUND note unreachable-chain ip6 nat ISTIO_REDIRECT]",
		"istio-sidecar-outbound-ports-include.legacy": "[warning only-outbound 15001 warning only-ports outbound | 31000, 32000 | IPv4 note udp-bypass note unreachable-chain legacy ip nat ISTIO_INBOUND]",
	} {
		if sets[name] == nil {
			t.Errorf("no set %s", name)
			continue
		}
		s, err := rules.ParseSnapshot(sets[name], nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprint(said(Examine(s))); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}
