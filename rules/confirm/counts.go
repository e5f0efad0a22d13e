package confirm

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Count is a counter of what the trace goes through, before the watch and after it. It tells
// what was counted, whoever made it grow.
type Count struct {
	Stage         flow.Stage // of the step
	Of            string     // the rule's subject, the name of the listener or cluster, the endpoint's address
	Name          string     // Envoy's, without what it is of; empty: the packets of a rule
	Before, After uint64
}

// clusterCounts are the counters of a cluster that tell of one request, in this order.
var clusterCounts = []string{"upstream_rq_total", "upstream_cx_total", "upstream_cx_none_healthy", "upstream_cx_connect_fail", "upstream_cx_overflow", "upstream_rq_pending_overflow"}

// Counts are those of a trace among what counters tell (Deltas), without a judgement: also while
// a watch goes on.
func Counts(t flow.Trace, deltas []flow.Observation) []Count {
	c := &check{trace: t, counters: map[string]*flow.Observation{}}
	for i := range deltas {
		c.counters[deltas[i].Name] = &deltas[i]
	}
	return c.counts()
}

// counts are the counters of the steps, in their order, also those that stayed.
func (c *check) counts() []Count {
	var out []Count
	add := func(stage flow.Stage, of, name string, o *flow.Observation) {
		if o != nil {
			out = append(out, Count{stage, of, name, o.Before, o.After})
		}
	}
	told := map[string]bool{} // rules
	for l, leg := range c.trace.Legs {
		for _, st := range leg.Steps {
			switch {
			case st.Stage == flow.Netfilter && !told[st.Subject]:
				told[st.Subject] = true
				c.countsOf(st, add)
			case st.Stage != flow.Netfilter && l == 0: // Envoy's are of the request's first pass
				c.countsOf(st, add)
			}
		}
	}
	return out
}

func (c *check) countsOf(st flow.Step, add func(flow.Stage, string, string, *flow.Observation)) {
	o := c.trace.Outcome
	switch st.Stage {
	case flow.Netfilter:
		n, _ := c.ruleCounter(st)
		add(st.Stage, st.Subject, "", n)
	case flow.Listener:
		add(st.Stage, o.Listener, "downstream_cx_total", c.counters["listener."+statistic(o.Listener)+".downstream_cx_total"])
	case flow.Cluster:
		for i, name := range clusterCounts {
			// The others are of failures: they matter where they grew.
			if n := c.counters["cluster."+statistic(o.Cluster)+"."+name]; n != nil && (i < 2 || n.After > n.Before) {
				add(st.Stage, o.Cluster, name, n)
			}
		}
	case flow.Endpoint:
		if strings.Contains(o.Endpoint, ":") {
			add(st.Stage, o.Endpoint, "rq_total", c.counters[hostPrefix(o.Cluster)+o.Endpoint+" rq_total"])
		}
	}
}
