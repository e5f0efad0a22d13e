//go:build long

package kubernetes

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// judge goes through a scene: what each call gets, what meshtop says of it and confirms, and again
// while nothing may leave, by the kernel and by Istio's own object.
func (m *meshed) judge() {
	m.names()
	m.watched()
	for _, c := range m.calls {
		m.asked(c)
		if c.pod() == "client" && !c.quiet {
			m.sent(c)
		}
	}
	m.plain()
	m.blocked()
	m.sidecar()
}

// names: what is wrong with Istio's objects is found by their names, and a trace names those that
// decide.
func (m *meshed) names() {
	m.Helper()
	status := 0
	if len(m.finds) > 0 {
		status = 1
	}
	m.holds(m.meshtop(m.T, status, "doctor", "pod", "client", "-n", m.space()), m.finds...)
	out := strings.Join(strings.Fields(m.meshtop(m.T, 0, m.args("trace", m.calls[0])...)), "") // names are broken between lines
	for _, w := range m.made {
		if !strings.Contains(out, w) {
			m.Errorf("the trace of %s does not name %s:\n%s", m.words(m.calls[0].to), w, out)
		}
	}
}

// holds wants words in a text.
func (m *meshed) holds(text string, words ...string) {
	m.Helper()
	holds(m.T, text, words...)
}

// sent: meshtop's own request is seen as it foretold, where an application answers. What Envoy answers
// itself it tells in a log on its standard output and in counters that Istio hides, so that not all of
// it can be seen; and with TPROXY neither can the rules that every packet on lo meets. But nothing is
// against the trace.
func (m *meshed) sent(c call) {
	m.Helper()
	args := m.args("confirm", c, "--send")
	raw, err := exec.Command(m.bin, args...).CombinedOutput()
	out := string(raw)
	switch {
	case err == nil:
		m.count.confirmed.Add(1)
		m.holds(out, "CONFIRMED")
	case strings.Contains(c.real, "app=") && !m.tproxy():
		m.Errorf("meshtop %s: %v:\n%s", strings.Join(args, " "), err, out)
	default:
		m.count.unseen.Add(1)
		m.holds(out, "NOT OBSERVED: nothing against it", " 0 against,")
	}
}

func (m *meshed) tproxy() bool { return strings.Contains(m.annotations, "TPROXY") }

// sits sits down at a terminal attached to the client. A person's patience is that of one sitting.
func (m *meshed) sits() person.Person {
	m.Helper()
	program, err := screen.Start(screen.Options{W: 100, H: 30}, m.bin, m.args("attach", m.calls[0])...)
	p := person.At(m.T, program, err)
	p.Sees("▸ Trace", "DELIVERED", "PARTIAL")
	return p
}

// leaves ends the program.
func (m *meshed) leaves(p person.Person) {
	m.Helper()
	p.Types("q")
	if err := p.End(); err != nil {
		m.Error(err)
	}
	p.GivenBack()
}

// watched: a real client without a sidecar asks a server while confirm watches there.
func (m *meshed) watched() {
	m.Helper()
	to := "http://" + m.address["server-v1"] + ":8080/"
	end := judged{client: m.client, T: m.T}.watching("watching for", "confirm", "pod", "server-v1", "-n", m.space(), "--inbound", "--to", to, "--watch", "60s")
	got := m.exec(m.scene, "ext", "app", "curl", "-sS", "-m", "10", "-H", "Connection: close", to)
	if !strings.Contains(got, "app=server-v1") {
		m.Errorf("ext to %s: %s", to, got)
	}
	m.holds(end(), "CONFIRMED", "by cluster inbound|8080||")
	m.count.confirmed.Add(1)
}

// blocked: by the kernel nothing leaves, and all is as before afterwards.
func (m *meshed) blocked() {
	m.Helper()
	p := m.sits()
	target := []string{"pod/client", "-n", m.space()}
	m.holds(m.meshtop(m.T, 0, append([]string{"policy", "block-all", "--yes", "--ttl", "5m"}, target...)...), "applied and proven")
	for _, c := range m.calls[:2] {
		c.real, c.quiet = refused, true
		m.asked(c)
		m.sent(c)
	}
	p.Types("r")
	p.Sees("REFUSED")
	m.holds(m.meshtop(m.T, 0, append([]string{"policy", "restore", "--yes"}, target...)...), "policy none")
	p.Types("r")
	p.Sees("DELIVERED")
	m.leaves(p)
	m.asked(m.calls[0])
}

// sidecar: istiod takes meshtop's Sidecar and acts on it, while the program runs that made it.
func (m *meshed) sidecar() {
	m.Helper()
	p := m.sits()
	holding := exec.Command(m.bin, "policy", "block-all", "pod/client", "-n", m.space(), "--driver", "sidecar", "--yes", "--ttl", "3m")
	said, err := holding.StderrPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := holding.Start(); err != nil {
		m.Fatal(err)
	}
	lines, heard := bufio.NewScanner(said), ""
	for !strings.Contains(heard, "staying for") && lines.Scan() {
		heard += lines.Text() + "\n"
	}
	if got := m.kubectl(m.T, m.scene, "get", "sidecar", "meshtop-block-all-client", "-o", "jsonpath={.spec.outboundTrafficPolicy.mode}"); got != "REGISTRY_ONLY" {
		m.Errorf("the Sidecar: %q\n%s", got, heard)
	}
	m.becomes(m.calls[0], ended)
	for _, c := range m.calls[:2] {
		c.real = ended
		m.asked(c)
		m.sent(c)
	}
	p.Types("r")
	p.Sees("REFUSED")
	if err := holding.Process.Signal(os.Interrupt); err != nil {
		m.Error(err)
	}
	for lines.Scan() {
		heard += lines.Text() + "\n"
	}
	_ = holding.Wait() // 1: accepted by the API server is not proven
	m.holds(heard, "restored: nothing of it is left")
	if out := m.kubectl(m.T, m.scene, "get", "sidecar,lease", "-o", "name"); out != "" {
		m.Errorf("left: %s", out)
	}
	m.becomes(m.calls[0], m.calls[0].real)
	m.asked(m.calls[0])
	p.Types("r")
	p.Sees("DELIVERED")
	m.leaves(p)
}

// becomes waits until the real client gets another answer.
func (m *meshed) becomes(c call, real string) {
	m.Helper()
	got := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got = m.curl(c); regexp.MustCompile(real).MatchString(got) {
			return
		}
	}
	m.Fatalf("%s: the real answer does not become %s:\n%s", m.words(c.to), real, got)
}
