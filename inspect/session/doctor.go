package session

import "github.com/meshtop/meshtop/rules/doctor"

// Doctor looks the reading over for what keeps the pod out of its mesh; the worst comes
// first.
func Doctor(r Reading) []doctor.Finding { return doctor.Examine(r.Snapshot) }
