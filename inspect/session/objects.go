package session

import (
	"github.com/meshtop/meshtop/rules/check"
)

// Objects are the parts of the reading's configuration that cases can come by.
func Objects(r Reading) []check.Object {
	var out []check.Object
	for _, o := range r.Snapshot.Envoy.Objects() {
		out = append(out, check.Object{Kind: o.Kind, Parent: o.Parent, Name: o.Name, Ref: o.Ref})
	}
	return out
}
