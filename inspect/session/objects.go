package session

import (
	"github.com/meshtop/meshtop/rules/check"
)

// Objects are the parts of the reading's configuration that cases can come by.
func Objects(r Reading) []check.Object {
	return nil
}
