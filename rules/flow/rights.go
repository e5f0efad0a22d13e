package flow

// Rights are what an account may do at a pod of a cluster, as the cluster itself answers.
type Rights struct {
	Pod, Namespace string
	User           string // as the API server knows it; empty: it did not say
	List           []Right
	Agent          bool // all that the agent beside the pod needs is allowed
}

// Right is one thing that is asked for.
type Right struct {
	Need   string // what it is for, such as "see the pod"
	Gives  string // what meshtop does with it
	Group  string // the resource's API group; empty: the core one
	Object string // the resource, such as pods/exec
	Role   string // the role of deploy/rbac that holds it, such as "view"
	// Namespace is where it is asked for; empty: in the pod's.
	Namespace string
	Verbs     []Verb
}

// Verb is one verb of a right with the cluster's answer.
type Verb struct {
	Name    string
	Allowed bool
	Why     string // the API server's reason, where it gave one
}

// Allowed says whether all of the right's verbs are.
func (r Right) Allowed() bool { return len(r.Missing()) == 0 }

// Missing are the verbs that are not allowed.
func (r Right) Missing() []string {
	var out []string
	for _, v := range r.Verbs {
		if !v.Allowed {
			out = append(out, v.Name)
		}
	}
	return out
}
