package kubernetes

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/e2e/nameserver"
)

// names: a name is what the pod's own resolver makes of it: its hosts file, its search domains,
// its name server, asked from inside; where nothing in the pod can be asked, what the API server
// has, and that is said.
func (c client) names(t *testing.T) {
	c.kubectl(t, "mesh", "apply", "-f", "testdata/names.yaml")
	c.kubectl(t, "mesh", "wait", "--for=condition=Ready", "--timeout=60s", "pod/asking")
	defer c.kubectl(t, "mesh", "delete", "-f", "testdata/names.yaml")
	asking := []string{"pod", "asking", "-n", "scene-mesh"}
	to := func(name string, more ...string) []string {
		return slices.Concat([]string{"trace"}, asking, []string{"--to", "http://" + name + "/"}, more)
	}
	c.may(t, 3, to("web"), "name server 10.99.0.1:53: read: connection refused")
	socket, err := net.ListenPacket("udp4", "10.99.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	s := nameserver.Serve(nameserver.Zone{
		"web.scene-mesh.svc.cluster.local.": {"10.107.42.21", "10.107.42.22"}, "myngxsvc.scene-base.svc.cluster.local.": {"10.107.42.16"}, "legacy.corp.": {"10.9.9.9"},
	}, socket, nil)
	defer s.Close()
	c.may(t, 0, to("legacy.corp"), "legacy.corp is 10.107.42.16: /etc/hosts of the pod has it", "DELIVERED")
	c.may(t, 0, to("myngxsvc.scene-base"), "myngxsvc.scene-base (myngxsvc.scene-base.svc.cluster.local) is 10.107.42.16: so the pod's name server 10.99.0.1:53", "10.107.42.16:80")
	c.may(t, 0, to("web"), "is 10.107.42.21, 10.107.42.22", "of 2 addresses 10.107.42.21 is followed", "--to ADDR --authority web would tell")
	c.may(t, 0, to("web", "-o", "json"), `"named": {`, `"full": "web.scene-mesh.svc.cluster.local."`, `"by": "server"`)
	c.may(t, 3, to("gone.scene-base"), "has no address for gone.scene-base.scene-mesh.svc.cluster.local., gone.scene-base.svc.cluster.local.", "write the address")
	c.may(t, 3, words([]string{"trace"}, meshPod, []string{"--to", "app-v1.scene-base"}), "name server 127.0.0.1:53: read: connection refused", "the API server has Service scene-base/app-v1, with 10.107.42.21")
	// Whose question the rules bring to a port where nobody listens gets none.
	c.may(t, 3, to("web", "--uid", "1000"), "name server 10.99.0.1:53: read: connection refused")
	if asked := s.Asked(); !slices.Contains(asked, "A web.scene-mesh.svc.cluster.local.") || slices.Contains(asked, "A legacy.corp.scene-mesh.svc.cluster.local.") {
		t.Errorf("asked: %v", asked)
	}
	// What stands behind addresses: of a Service by its own, of a pod by its own.
	c.mayYet(t, 0, words([]string{"trace"}, asking, []string{"--to", "10.107.42.16"}), "10.107.42.16:80 is Service scene-base/myngxsvc")
	to7 := c.field(t, "mesh", "pod", "outpod-mesh", ".status.podIP")
	c.mayYet(t, 0, words([]string{"trace"}, asking, []string{"--to", to7}), to7+":80 is Pod scene-mesh/outpod-mesh")
	cases := filepath.Join(t.TempDir(), "cases.jsonl")
	if err := os.WriteFile(cases, []byte(`{"name":"by name","request":{"dst":"myngxsvc.scene-base:80","http":{"method":"GET"}},"want":{"to":"10.107.42.16:80"}}
{"name":"nobody","request":{"dst":"gone.scene-base:80"},"want":{"to":"10.107.42.16:80"}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.may(t, 3, slices.Concat([]string{"check"}, asking, []string{cases}), "1 met", "where gone.scene-base leads to is not known")

	c.may(t, 3, to("legacy.corp", "--via", "intent"), "legacy.corp is 10.107.42.16, as the API server has hostAliases of the pod; the pod's own resolver was not asked")
	c.may(t, 3, to("mute", "--via", "intent"), "its dnsPolicy is None")
	mesh := func(name string) []string {
		return slices.Concat([]string{"trace"}, meshPod, []string{"--via", "intent", "--to", "http://" + name + "/"})
	}
	c.may(t, 3, mesh("myngxsvc.scene-base.svc"), "is 10.107.42.16, as the API server has Service scene-base/myngxsvc; the pod's own resolver was not asked")
	c.may(t, 3, mesh("mute"), "Service scene-mesh/mute has no address of its own")
	c.may(t, 3, mesh("example.org.uk"), `"example.org.uk" has not the form of a Service's name`)
}
