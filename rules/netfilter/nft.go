package netfilter

import "github.com/meshtop/meshtop/rules/flow"

func (rs *Ruleset) readNFT(data []byte) ([]flow.Gap, error) { return nil, nil }

type sequence struct{ guards []cond }

func (s *sequence) do(w *walk) outcome { return outcome{} }
