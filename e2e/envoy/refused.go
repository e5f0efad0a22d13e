package envoy

import (
	"encoding/json"
	"regexp"
	"strings"
)

// dumped is what refusals reads of a config_dump.
type dumped struct {
	Configs []struct {
		Listeners []struct {
			Name  string `json:"name"`
			Error *struct {
				Details string `json:"details"`
			} `json:"error_state"`
		} `json:"dynamic_listeners"`
		Active  []dumpedCluster `json:"dynamic_active_clusters"`
		Warming []dumpedCluster `json:"dynamic_warming_clusters"`
	} `json:"configs"`
}

type dumpedCluster struct {
	Cluster struct {
		Name string `json:"name"`
	} `json:"cluster"`
}

// refusals are the resources that Envoy did not accept: listeners stand in the dump with
// their error, clusters only in the log.
func refusals(dump []byte, w *World, stderr string) (out []Refused) {
	var d dumped
	if json.Unmarshal(dump, &d) != nil {
		return nil
	}
	have, failed := map[string]bool{}, map[string]string{}
	for _, c := range d.Configs {
		for _, l := range c.Listeners {
			have["l "+l.Name] = true
			if l.Error != nil {
				failed[l.Name] = l.Error.Details
			}
		}
		for _, x := range append(c.Active, c.Warming...) {
			have["c "+x.Cluster.Name] = true
		}
	}
	for _, r := range w.Listeners {
		n := nameOf(r)
		if text, ok := failed[n]; ok {
			out = append(out, Refused{"listener", n, shorten(text), r})
		} else if !have["l "+n] {
			out = append(out, Refused{"listener", n, shorten(linesWith(stderr, n)), r})
		}
	}
	for _, r := range w.Clusters {
		if n := nameOf(r); !have["c "+n] {
			out = append(out, Refused{"cluster", n, shorten(linesWith(stderr, n)), r})
		}
	}
	return out
}

func linesWith(text, name string) string {
	var keep []string
	for _, l := range strings.Split(text, "\n") {
		if name != "" && strings.Contains(l, name) {
			keep = append(keep, l)
		}
	}
	if keep == nil {
		return strings.TrimSpace(text)
	}
	return strings.Join(keep, "\n")
}

// debugMark is put into protobuf's texts to make them unstable on purpose.
var debugMark = regexp.MustCompile(`goo\.gle/debug\w+\s+`)

func shorten(s string) string {
	s = debugMark.ReplaceAllString(s, "")
	if n := len(s); n > 600 {
		s = s[:150] + " [...] " + s[n-400:]
	}
	return s
}

func nameOf(r json.RawMessage) string {
	var x struct {
		Name string `json:"name"`
	}
	json.Unmarshal(r, &x)
	return x.Name
}
