package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// RightsSchema names the meaning of the JSON form of rights.
const RightsSchema = "meshtop.rights/v1"

type rightsForm struct {
	Schema    string      `json:"schema"`
	Pod       string      `json:"pod"`
	Namespace string      `json:"namespace"`
	User      string      `json:"user"`
	Agent     bool        `json:"agent"`
	Rights    []rightForm `json:"rights"`
	Ask       *askForm    `json:"ask"`
}

type rightForm struct {
	Need     string     `json:"need"`
	Gives    string     `json:"gives"`
	Group    string     `json:"group"`
	Resource string     `json:"resource"`
	Role     string     `json:"role"`
	Space    string     `json:"namespace"`
	Allowed  bool       `json:"allowed"`
	Verbs    []verbForm `json:"verbs"`
}

type verbForm struct {
	Verb    string `json:"verb"`
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitempty"`
}

type askForm struct {
	Role    string `json:"role"`
	Command string `json:"command"`
	YAML    string `json:"yaml"`
}

// RightsJSON is the JSON form of what an account may do at a pod.
func RightsJSON(r flow.Rights) []byte {
	form := rightsForm{Schema: RightsSchema, Pod: Clean(r.Pod), Namespace: Clean(r.Namespace), User: Clean(r.User), Agent: r.Agent, Rights: []rightForm{}}
	for _, one := range r.List {
		f := rightForm{Need: one.Need, Gives: one.Gives, Group: one.Group, Resource: one.Object, Role: one.Role, Space: Clean(cmp.Or(one.Namespace, r.Namespace)), Allowed: one.Allowed()}
		for _, v := range one.Verbs {
			f.Verbs = append(f.Verbs, verbForm{v.Name, v.Allowed, Clean(v.Why)})
		}
		form.Rights = append(form.Rights, f)
	}
	if role := lacks(r); role != "" {
		form.Ask = &askForm{role, bindCommand(r, role), roleYAML(r, role)}
	}
	return encode(form)
}

// RightsText is the same as a table, with what it means and what to ask for.
func RightsText(r flow.Rights) string {
	var b strings.Builder
	user := Clean(r.User)
	if user == "" {
		user = "your account"
	}
	fmt.Fprintf(&b, "what %s may do with pod %s in namespace %s\n\n", user, Clean(r.Pod), Clean(r.Namespace))
	for _, one := range r.List {
		object := one.Object
		if one.Group != "" {
			object += "." + one.Group
		}
		mark, gives := "✓ yes", "gives "
		no := one.Missing()
		if len(no) > 0 {
			mark, gives = "✗ no ", "would give "
		}
		fmt.Fprintf(&b, " %s  %-29s role %s\n", mark, one.Need, one.Role)
		if one.Namespace != "" {
			object += " in namespace " + Clean(one.Namespace)
		}
		fmt.Fprintf(&b, "        %s of %s\n        %s%s\n", verbs(one), object, gives, one.Gives)
		if len(no) > 0 && len(no) < len(one.Verbs) {
			fmt.Fprintf(&b, "        missing: %s\n", strings.Join(no, ", "))
		}
		for _, v := range one.Verbs {
			if why := Clean(v.Why); why != "" && !v.Allowed {
				fmt.Fprintf(&b, "        %s: %s\n", v.Name, why)
			}
		}
	}
	fmt.Fprintf(&b, "\nSo: %s.\n", Ways(r))
	if role := lacks(r); role != "" {
		fmt.Fprintf(&b, "\nto get more, ask for the role %s (deploy/rbac/%s.yaml):\n  %s\nor for what is missing of it, and nothing else:\n\n%s", role, role, bindCommand(r, role), roleYAML(r, role))
	}
	return b.String()
}

// RightsAsk is the least role that holds what is missing, the command that binds it, and what is
// missing of it as objects; empty: nothing is.
func RightsAsk(r flow.Rights) (role, command, yaml string) {
	if role = lacks(r); role == "" {
		return "", "", ""
	}
	return role, bindCommand(r, role), roleYAML(r, role)
}

func verbs(r flow.Right) string {
	var out []string
	for _, v := range r.Verbs {
		out = append(out, v.Name)
	}
	return strings.Join(out, ", ")
}

// Ways says what can be done with the rights that there are.
func Ways(r flow.Rights) string {
	may := map[string]bool{}
	for _, one := range r.List {
		may[one.Object] = may[one.Object] || one.Namespace == "" && one.Allowed()
	}
	forward, exec := may["pods/portforward"], may["pods/exec"]
	switch {
	case r.Agent:
		return "all of it can be read, confirmed and changed, by the agent beside the pod"
	case !seen(r):
		return "the pod cannot be seen, and so nothing of it"
	case exec && forward:
		return "Envoy's half of a path can be traced by port-forward, and of the kernel's what the pod's images can read (--via exec)"
	case exec:
		return "what the pod's images can read can be traced (--via exec)"
	case forward:
		return "Envoy's half of a path can be traced (--via forward); the kernel's only as it was meant (--via intent)"
	}
	return "a path can be traced only as it was meant (--via intent)"
}

func seen(r flow.Rights) bool {
	for _, one := range r.List {
		if one.Object == "pods" && one.Verbs[0].Name == "get" {
			return one.Allowed()
		}
	}
	return false
}

// lacks is the least role that holds what is missing; the opt-in ones are nobody's lack.
func lacks(r flow.Rights) string {
	role := ""
	for _, one := range r.List {
		switch {
		case one.Allowed():
		case one.Role == "view" || one.Role == "capture":
			role = "capture"
		case one.Role == "operate" && role == "":
			role = "operate"
		}
	}
	return role
}

// bindCommand binds the role in the pod's namespace.
func bindCommand(r flow.Rights, role string) string {
	who := "--user=USER"
	if space, name, ok := serviceAccount(r.User); ok {
		who = "--serviceaccount=" + shellWord(Clean(space+":"+name))
	} else if r.User != "" {
		who = "--user=" + shellWord(Clean(r.User))
	}
	return fmt.Sprintf("kubectl create rolebinding meshtop-%s --clusterrole=meshtop-%s %s -n %s", role, role, who, shellWord(Clean(r.Namespace)))
}

func serviceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}

// roleYAML is what is missing of a role, as objects to apply in the pod's namespace.
func roleYAML(r flow.Rights, role string) string {
	var b strings.Builder
	space := jsonWord(r.Namespace)
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: meshtop, namespace: %s}\nrules:\n", space)
	for _, one := range r.List {
		wanted := one.Role == role || role == "capture" && one.Role == "view"
		if no := one.Missing(); wanted && len(no) > 0 {
			fmt.Fprintf(&b, "  - {apiGroups: [%q], resources: [%s], verbs: [%s]}\n", one.Group, one.Object, strings.Join(no, ", "))
		}
	}
	subject := fmt.Sprintf("{kind: User, apiGroup: rbac.authorization.k8s.io, name: %s}", jsonWord(r.User))
	if at, name, ok := serviceAccount(r.User); ok {
		subject = fmt.Sprintf("{kind: ServiceAccount, namespace: %s, name: %s}", jsonWord(at), jsonWord(name))
	}
	fmt.Fprintf(&b, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: meshtop, namespace: %s}\n", space)
	fmt.Fprintf(&b, "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: meshtop}\nsubjects:\n  - %s\n", subject)
	return b.String()
}

// jsonWord is a string that YAML reads as itself, whatever is in it.
func jsonWord(s string) string {
	b, err := json.Marshal(Clean(s))
	if err != nil {
		return `""` // a string always has a form
	}
	return string(b)
}
