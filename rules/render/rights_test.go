package render

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	"go.yaml.in/yaml/v3"
)

func right(role, object string, verbs ...string) flow.Right {
	r := flow.Right{Role: role, Need: "use " + object, Gives: "something", Object: object}
	for _, v := range verbs {
		name, no := strings.CutPrefix(v, "!")
		r.Verbs = append(r.Verbs, flow.Verb{Name: name, Allowed: !no})
	}
	return r
}

// What is asked for is the least role that holds all that is missing; opt-in roles are
// nobody's lack.
func TestRightsAsk(t *testing.T) {
	all := []flow.Right{right("view", "pods", "get"), right("view", "pods/portforward", "create"), right("capture", "pods/exec", "get", "create"), right("operate", "leases", "get"), right("sidecar", "sidecars", "!get")}
	for want, change := range map[string]func([]flow.Right){
		"": func([]flow.Right) {},
		"capture": func(l []flow.Right) {
			l[2], l[3] = right("capture", "pods/exec", "get", "!create"), right("operate", "leases", "!get")
		},
		"operate": func(l []flow.Right) { l[3] = right("operate", "leases", "!get") },
	} {
		list := append([]flow.Right(nil), all...)
		change(list)
		text := RightsText(flow.Rights{Pod: "p", Namespace: "n", User: "system:serviceaccount:a:b", List: list})
		if ask := strings.Contains(text, "ask for the role "); ask != (want != "") || ask && !strings.Contains(text, "--clusterrole=meshtop-"+want+" --serviceaccount=a:b -n n\n") {
			t.Errorf("want %q:\n%s", want, text)
		}
	}
}

// A right in another namespace says so, and opens nothing of the pod.
func TestRightsElsewhere(t *testing.T) {
	node := right("node", "pods/exec", "get")
	node.Namespace = "nodes"
	r := flow.Rights{Pod: "p", Namespace: "n", List: []flow.Right{right("view", "pods", "get"), right("capture", "pods/exec", "!get"), node}}
	text := RightsText(r)
	if !strings.Contains(text, "get of pods/exec in namespace nodes\n") || !strings.Contains(text, "get of pods/exec\n") || !strings.Contains(text, "So: a path can be traced only as it was meant") {
		t.Error(text)
	}
	var form struct{ Rights []struct{ Namespace string } }
	if err := json.Unmarshal(RightsJSON(r), &form); err != nil || len(form.Rights) != 3 || form.Rights[1].Namespace != "n" || form.Rights[2].Namespace != "nodes" {
		t.Errorf("%v: %+v", err, form)
	}
}

// What the account is called is anybody's word: in the command and in the objects it stays one
// word, and only the verbs that are missing are asked for.
func TestRightsHostile(t *testing.T) {
	user := "a'; rm -rf / #\x1b[2J\": {x: y}"
	r := flow.Rights{Pod: "p", Namespace: "n", User: user, List: []flow.Right{right("capture", "pods/exec", "get", "!create")}}
	var form struct {
		Ask struct{ Command, YAML string }
	}
	if err := json.Unmarshal(RightsJSON(r), &form); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(form.Ask.Command, `--user='a'\''; rm -rf / #`) || strings.Contains(form.Ask.Command, "\x1b") {
		t.Errorf("the command: %s", form.Ask.Command)
	}
	docs := yaml.NewDecoder(strings.NewReader(form.Ask.YAML))
	var role struct {
		Rules []struct{ Resources, Verbs []string }
	}
	var binding struct{ Subjects []struct{ Kind, Name string } }
	if err := docs.Decode(&role); err != nil {
		t.Fatal(err)
	}
	if err := docs.Decode(&binding); err != nil {
		t.Fatal(err)
	}
	if len(role.Rules) != 1 || role.Rules[0].Resources[0] != "pods/exec" || strings.Join(role.Rules[0].Verbs, " ") != "create" {
		t.Errorf("the role: %+v", role)
	}
	if s := binding.Subjects; len(s) != 1 || s[0].Kind != "User" || s[0].Name != Clean(user) {
		t.Errorf("the binding: %+v", binding)
	}
}
