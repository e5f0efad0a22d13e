package plain

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/inspect/saved"
)

// hostile has what a terminal acts on or shows nothing for: OSC 52 (writes the
// clipboard), a colour by C1, bidi override, zero width, a tag above the basic plane.
const hostile = "\x1b]52;c;aGk=\a\u009b31m\u202e\u200b\u2066\U000e0041"

// raw is the first such character in out, if any.
func raw(out string) (rune, bool) {
	for _, r := range out {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
			return r, true
		}
	}
	return 0, false
}

// runOn runs a command line over files saved as a snapshot, and fails where any output
// holds a raw character.
func runOn(t *testing.T, what string, files map[string][]byte, args ...string) (string, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.zip")
	if err := archive.Write(path, files); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		if a == "SNAP" {
			args[i] = path
		}
	}
	return run(t, what, App{}, args)
}

// runPod is runOn without a file: the pod is there by injection, and SNAP is its name.
func runPod(t *testing.T, what string, files map[string][]byte, args ...string) {
	t.Helper()
	for i, a := range args {
		if a == "file" && args[i+1] == "SNAP" {
			args[i] = "netns"
		}
	}
	run(t, what, App{Netns: func(context.Context, string, netip.AddrPort) (inspect.Pod, error) {
		return saved.New("netns SNAP", files), nil
	}}, args)
}

func run(t *testing.T, what string, app App, args []string) (string, int) {
	t.Helper()
	var out, errs bytes.Buffer
	app.Stdout, app.Stderr = &out, &errs
	code := Run(context.Background(), app, args)
	for name, s := range map[string]string{"stdout": out.String(), "stderr": errs.String()} {
		if r, ok := raw(s); ok {
			at := strings.IndexRune(s, r)
			t.Fatalf("%s: %v: a raw %U on %s: %q", what, args, r, name, s[max(0, at-80):min(len(s), at+20)])
		}
	}
	return out.String() + errs.String(), code
}

// everyForm are the command lines that show a snapshot's strings.
func everyForm(to string, more ...string) [][]string {
	var out [][]string
	for _, form := range []string{"text", "short", "json", "yaml"} {
		out = append(out, append([]string{"trace", "file", "SNAP", "--to", to, "-o", form, "--why"}, more...))
	}
	return append(out, []string{"attach", "file", "SNAP", "--plain"}, []string{"doctor", "file", "SNAP"}, []string{"doctor", "file", "SNAP", "-o", "json"},
		[]string{"policy", "block-all", "file", "SNAP", "--dry-run", "--strong", "--reason", hostile}, []string{"policy", "block-all", "file", "SNAP", "--dry-run", "--driver", "xds", "-o", "json"},
		[]string{"policy", "allow-all", "file", "SNAP", "--dry-run", "--all", "--plaintext-ok"})
}

func demoFiles(t *testing.T, name string) map[string][]byte {
	t.Helper()
	p, _, err := saved.Demo(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Files
}

// The names of a scene are replaced by hostile ones everywhere at once, so that the trace
// goes its whole way over them.
func TestHostileNames(t *testing.T) {
	planted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	inJSON := string(planted[1 : len(planted)-1])
	for _, name := range []string{"10.107.42.16_80", "virtualOutbound", "outbound_myngxsvc_route", "myngxsvc_host", "outbound|myngxsvc", "myheader.lua", "AllowAll", "virtualOutbound-tcp"} {
		files := demoFiles(t, "mesh")
		for _, part := range []string{"config_dump.json", "clusters.json", "listeners.json", "server_info.json"} {
			files[part] = bytes.ReplaceAll(files[part], []byte(`"`+name+`"`), []byte(`"`+name+inJSON+`"`))
		}
		files["stats"] = []byte(strings.ReplaceAll(string(files["stats"]), name, name+hostile))
		for _, args := range append(everyForm("10.107.42.16:80", "--uid", "1000"), everyForm("10.107.42.16:81", "-H", "a"+hostile+": b"+hostile, "--path", "/"+hostile)...) {
			runPod(t, name, files, args...)
		}
	}
}

// Each string of the configuration, one at a time.
func TestHostileFields(t *testing.T) {
	for _, scene := range []string{"mesh", "http-ratelimit"} {
		base := demoFiles(t, scene)
		n := 0
		for _, f := range leaves(t, base["config_dump.json"]) {
			files := map[string][]byte{"config_dump.json": f.with(hostile), "clusters.json": base["clusters.json"]}
			to := []string{"10.107.42.16:80"}
			if scene != "mesh" {
				to = []string{"http://10.244.1.7:8080/aa", "--inbound"}
			}
			runPod(t, f.text, files, append([]string{"trace", "file", "SNAP", "--why", "--to"}, to...)...)
			n++
		}
		if n < 30 {
			t.Errorf("%s: only %d fields were tried", scene, n)
		}
	}
}

// leaf is one string in a JSON text.
type leaf struct {
	doc        []byte
	start, end int // without the quotes
	text       string
}

func (l leaf) with(more string) []byte {
	planted, _ := json.Marshal(more)
	return append(append(append([]byte{}, l.doc[:l.end]...), planted[1:len(planted)-1]...), l.doc[l.end:]...)
}

// leaves are the strings of a dump outside the bootstrap, whose list of extensions would
// be thousands of the same.
func leaves(t *testing.T, doc []byte) []leaf {
	t.Helper()
	var out []leaf
	at := bytes.Index(doc, []byte("ClustersConfigDump"))
	if at < 0 {
		t.Fatal("no clusters in the dump")
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	for {
		tok, err := dec.Token()
		if err != nil {
			return out
		}
		if s, ok := tok.(string); ok {
			end := int(dec.InputOffset()) - 1
			if end > at {
				out = append(out, leaf{doc, end - len(s), end, s})
			}
		}
	}
}

// Everything else that comes from a pod or a stranger: rules, sockets, addresses, meta,
// part names, names of objects, file names, and the command line itself.
func TestHostileParts(t *testing.T) {
	base := demoFiles(t, "mesh")
	meta, err := json.Marshal(map[string]any{"taken": hostile, "target": hostile, "title": hostile, "gaps": []map[string]string{{"part": hostile, "reason": hostile}}})
	if err != nil {
		t.Fatal(err)
	}
	save := string(base["iptables-save"])
	for what, change := range map[string]map[string][]byte{
		"meta":     {"meta.json": meta},
		"comment":  {"iptables-save": []byte(strings.Replace(save, "-p tcp", "-p tcp -m comment --comment \"x"+hostile+"\"", 1))},
		"match":    {"iptables-save": []byte(strings.Replace(save, "-p tcp", "-p tcp -m "+strings.ReplaceAll(hostile, " ", "")+" --x", 1))},
		"chain":    {"iptables-save": []byte(strings.NewReplacer(":POSTROUTING", ":X"+hostile+" - [0:0]\n:POSTROUTING", "-j REDIRECT", "-j X"+hostile+" #").Replace(save))},
		"garbage":  {"iptables-save": []byte(save + hostile + "\n")},
		"table":    {"iptables-save": []byte("*" + hostile + "\nCOMMIT\n")},
		"sockets":  {"sockets": []byte(strings.ReplaceAll(string(base["sockets"]), "envoy", "envoy"+hostile))},
		"addr":     {"addr.json": bytes.ReplaceAll(base["addr.json"], []byte("eth0"), []byte(`eth0\u001b]52;c;\u202e`))},
		"route":    {"route.json": bytes.ReplaceAll(base["route.json"], []byte("eth0"), []byte(`eth0\u001b]52;c;\u202e`))},
		"version":  {"server_info.json": []byte(`{"version":"a/1.\u001b[31m\u202e/c"}`)},
		"not JSON": {"config_dump.json": []byte("{" + hostile)},
		"nft":      {"nft.json": []byte(`{"nftables":[{"table":{"family":"ip","name":"\u001b\u202e","handle":1}},{"chain":{"family":"ip","table":"\u001b\u202e","name":"\u001b","type":"filter","hook":"output","prio":0,"policy":"accept","handle":1}},{"rule":{"family":"ip","table":"\u001b\u202e","chain":"\u001b","handle":2,"comment":"\u202e","expr":[{"xt":{"name":"\u001b"}}]}}]}`)},
		"part":     {"x" + strings.ReplaceAll(hostile, "\a", "") + ".json": []byte("{}")},
	} {
		files := map[string][]byte{}
		for k, v := range base {
			files[k] = v
		}
		for k, v := range change {
			files[k] = v
		}
		for _, args := range everyForm("10.107.42.16:80", "--uid", "1000") {
			runOn(t, what, files, args...)
		}
		runOn(t, what, files, "snapshot", "file", "SNAP", "-w", filepath.Join(t.TempDir(), "out.zip"))
	}
}

func TestHostileCommandLine(t *testing.T) {
	dir := t.TempDir()
	cases := filepath.Join(dir, "cases")
	doc, err := json.Marshal(map[string]any{"name": hostile, "request": map[string]any{"dst": "10.0.0.1:80"}, "want": map[string]any{"to": hostile, "netfilter": []string{hostile}, "outcome": map[string]any{"cluster": hostile}}})
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	for path, data := range map[string][]byte{cases: doc, broken: []byte(`{"name":"` + hostile + `"}`)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := demoFiles(t, "mesh")
	for _, args := range [][]string{
		{hostile}, {"trace", hostile, hostile}, {"--" + hostile}, {"trace", "netns", hostile, "--to", "10.0.0.1"}, {"trace", "demo", hostile, "--to", "10.0.0.1"},
		{"trace", "file", hostile, "--to", "10.0.0.1"}, {"trace", "demo", "mesh", "--to", hostile}, {"trace", "demo", "mesh", "--curl", "curl " + hostile}, {"trace", "demo", "mesh", "--curl", "curl --" + hostile},
		{"trace", "demo", "mesh", "--to", "10.0.0.1", "--pick", hostile + "=" + hostile, "--in", hostile, "--inbound"}, {"trace", "demo", "mesh", "--to", "10.0.0.1", "-o", hostile},
		{"trace", "--iptables", hostile, "--to", "10.0.0.1"}, {"trace", "demo", "mesh", "--to", "10.0.0.1", "--tls", "--sni", hostile, "--alpn", hostile, "-X", hostile},
		{"trace", "demo", "both", "--to", "10.0.0.1", "-c", hostile}, {"demo", hostile}, {"demo", "mesh", "--theme", hostile}, {"help", hostile},
		{"check", "demo", "mesh", cases}, {"check", "demo", "mesh", cases, "-o", "json"}, {"check", "demo", "mesh", cases, "-o", "junit"}, {"check", "demo", "mesh", broken}, {"check", "demo", "mesh", hostile},
		{"snapshot", "demo", "mesh", "-w", "/nowhere/" + hostile + ".zip"},
		{"policy", hostile, "demo", "mesh"}, {"policy", "block-all", "demo", "mesh", "--dry-run", "--except", hostile}, {"policy", "block-all", "demo", "mesh", "--dry-run", "--ttl", hostile}, {"policy", "block-all", "demo", "mesh", "--dry-run", "--driver", hostile},
	} {
		runOn(t, "command line", files, args...)
	}
}
