package flow

// Step is one decision: which object was met, what it decided, and why.
// It carries facts; rules/render makes the sentences.
type Step struct {
	Stage   Stage
	Subject string // the object's name; a rule is "FAMILY TABLE CHAIN NUMBER"
	Verdict Verdict
	Reason  Reason
	// Tests are the single conditions of the winner that were looked at, each with
	// its answer: what a screen ticks off under the rule or route.
	Tests    []Test
	Evidence []Evidence
	// Facts are what else the decision holds beside its reason, such as the time limits of a
	// route.
	Facts []Reason
	// Passed are the candidates tried before the winner; Explain words them.
	Passed      []Miss
	PassedTotal int
	Explain     Explainer // nil iff Passed is empty
	Assumed     []Assumption
	Origin      string // the object that made this one, such as Istio's metadata says
	// Decision says that there was more than one candidate (UX: keys s and S).
	Decision bool
}

// Reason is why a step decided as it did: a kind and up to three arguments, whose
// meaning stands at the kind.
type Reason struct {
	Kind ReasonKind
	Args [3]string
}

// Because makes a Reason.
func Because(k ReasonKind, args ...string) Reason {
	r := Reason{Kind: k}
	copy(r.Args[:], args)
	return r
}

// Answer is what a test says: three-valued, and Maybe where meshtop cannot know.
type Answer uint8

const (
	Maybe Answer = iota // zero: a test nobody wrote is not an answer
	Yes
	No
)

// String is the word of the answer.
func (a Answer) String() string { return name([]string{"maybe", "yes", "no"}, int(a)) }

// Not turns Yes and No round and leaves Maybe.
func (a Answer) Not() Answer {
	switch a {
	case Yes:
		return No
	case No:
		return Yes
	}
	return Maybe
}

// And is Kleene's: No wins, then Maybe.
func (a Answer) And(b Answer) Answer {
	if a == No || b == No {
		return No
	}
	if a == Yes && b == Yes {
		return Yes
	}
	return Maybe
}

// Or is Kleene's: Yes wins, then Maybe.
func (a Answer) Or(b Answer) Answer { return a.Not().And(b.Not()).Not() }

// Is makes an answer of a fact.
func Is(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// Test is one condition of a candidate with its answer.
type Test struct {
	Text   string // the condition as the source writes it, such as "--uid-owner 1337"
	Answer Answer
	Reason Reason // what the request has
}

// Evidence is where a fact was read: the source part, the place in it, its raw text.
type Evidence struct {
	Source string // a part of the snapshot, such as "iptables-save"
	Ref    string // a place in it: a rule's subject, a JSON pointer
	Text   string // raw text or JSON as it stands there
}

// Criterion numbers the test that a loser failed; its meaning is the Explainer's.
type Criterion uint16

// Miss is a candidate that was tried and passed over. It holds no text and costs no
// allocation: Step.Explain words it when somebody looks.
type Miss struct {
	Index  int32
	Failed Criterion
	Near   bool // exactly one test failed
}

// Explained is a miss in words of facts.
type Explained struct {
	Ref    string // the candidate as a reference, such as "ip nat OUTPUT 1"
	Kind   Stage  // what it is; StageNone: its reference says so
	Name   string // its own, or its number with # where it has none; valid iff Kind is set
	Of     string // the virtual host that holds a route
	Text   string // its raw text
	Wanted string // the test that failed, as the source writes it; empty: the reason tells it
	Reason Reason // the first test that failed
	Tests  []Test // all its tests, where they are known
}

// Explainer words the losers of one step. It is deterministic.
type Explainer interface{ Explain(Miss) Explained }

// Assumption is something taken for granted because nobody said otherwise; Flag is
// what to say to change it, such as "--pick random=0.3".
type Assumption struct {
	Reason Reason
	Flag   string
}
