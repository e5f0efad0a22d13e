package render

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Place is whose decision a step is: "app", "peer", "kernel", "envoy" or "wire".
func Place(l flow.Leg, st flow.Step) string {
	switch st.Stage {
	case flow.Socket:
		switch {
		case l.Owner == flow.OwnerPeer && st.Verdict == flow.Continue:
			return "wire"
		case l.Owner == flow.OwnerProxy && st.Verdict == flow.Continue:
			return "envoy"
		case st.Verdict == flow.Refused:
			return "kernel"
		}
		return "app"
	case flow.Netfilter, flow.RouteLookup:
		return "kernel"
	case flow.Wire:
		return "wire"
	}
	return "envoy"
}

// StepName names a step in about a dozen columns: "nat OUTPUT", "filter chain".
func StepName(l flow.Leg, st flow.Step) string {
	switch st.Stage {
	case flow.Socket:
		switch Place(l, st) {
		case "wire":
			return "peer"
		case "envoy":
			return "envoy dials"
		case "kernel":
			return "no socket"
		}
		return "app socket"
	case flow.Netfilter:
		name, _ := rule(st.Subject)
		return name
	case flow.RouteLookup:
		return "routing"
	case flow.Wire:
		return strings.TrimSpace("wire " + Clean(st.Subject))
	case flow.NetworkFilter:
		return "net filter"
	case flow.TransportSocket:
		return "transport"
	case flow.ListenerFilter:
		return "lstnr filter"
	}
	return strings.ReplaceAll(st.Stage.String(), "-", " ")
}

// StepBrief says what a step came to in a few words: the object that was chosen.
func StepBrief(l flow.Leg, st flow.Step) string {
	switch st.Stage {
	case flow.Netfilter:
		_, num := rule(st.Subject)
		if to := target(st); to != "" {
			return num + " " + to
		}
		return num
	case flow.Wire:
		return "to " + l.To.Dst.String()
	case flow.Socket:
		if st.Verdict == flow.Continue && l.Owner == flow.OwnerProxy {
			return "uid " + fmt.Sprint(l.From.UID) + " to " + l.From.Dst.String()
		}
		return strings.TrimSuffix(Clean(st.Subject), ":0")
	case flow.RouteLookup:
		return strings.TrimPrefix(Clean(st.Subject), "route ")
	case flow.Handoff:
		if st.Reason.Kind == flow.WhyNoHandoff {
			return "no listener fits"
		}
	case flow.FilterChain:
		return or(Clean(st.Subject), "unnamed")
	case flow.Route:
		return strings.TrimSpace(Clean(st.Subject) + " " + joinTests(testLines(st.Tests)))
	}
	return short(Clean(st.Subject))
}

// short is the name of an extension without the words that all of its kind begin with.
func short(name string) string {
	for _, kind := range []string{"http.", "network.", "listener."} {
		name = strings.TrimPrefix(name, "envoy.filters."+kind)
	}
	return name
}

// rule splits a rule's subject, FAMILY TABLE CHAIN NUMBER or "legacy FAMILY ...", into
// the chain's short name and the number.
func rule(subject string) (name, num string) {
	f := strings.Fields(subject)
	legacy := len(f) > 0 && f[0] == "legacy"
	if legacy {
		f = f[1:]
	}
	if len(f) < 4 {
		return Clean(subject), ""
	}
	name = Clean(strings.Join(f[1:len(f)-1], " "))
	if f[0] == "ip6" {
		name = "v6 " + name
	}
	if legacy {
		name = "legacy " + name
	}
	num = Clean(f[len(f)-1])
	if num != "policy" {
		num = "#" + num
	}
	return name, num
}

// target is the target of a rule as iptables-save writes it, in short: "REDIRECT :15001".
func target(st flow.Step) string {
	for _, e := range st.Evidence {
		f := strings.Fields(e.Text)
		for i, w := range f {
			if (w != "-j" && w != "-g") || i+1 == len(f) {
				continue
			}
			to := Clean(f[i+1])
			for k := i + 2; k+1 < len(f); k++ {
				switch f[k] {
				case "--to-ports", "--on-port":
					return to + " :" + Clean(f[k+1])
				case "--to-destination":
					return to + " " + Clean(f[k+1])
				}
			}
			return to
		}
	}
	return ""
}

// RequestLine says a request in one line, as its sender would: "GET http://10.0.0.1/ ·
// uid 0".
func RequestLine(r flow.Request) string {
	parts := []string{what(r)}
	if r.TLS != nil {
		if r.TLS.SNI != "" && r.HTTP == nil {
			parts = append(parts, "SNI "+Clean(r.TLS.SNI))
		}
		if len(r.TLS.ALPN) > 0 {
			parts = append(parts, "ALPN "+Clean(strings.Join(r.TLS.ALPN, ",")))
		}
	}
	if r.HTTP != nil {
		if at := r.Dst.String(); !strings.HasPrefix(at, r.HTTP.Authority) || r.HTTP.Authority == "" {
			parts = append(parts, "to "+at)
		}
		for _, h := range r.HTTP.Headers {
			parts = append(parts, Clean(h[0]+": "+h[1]))
		}
	}
	if r.Dir == flow.Inbound {
		return strings.Join(append(parts, "inbound"), " · ")
	}
	return strings.Join(append(parts, "uid "+fmt.Sprint(r.UID)), " · ")
}

func what(r flow.Request) string {
	if r.HTTP == nil {
		p := strings.ToUpper(r.Proto.String())
		if r.TLS != nil {
			p = "TLS"
		}
		return p + " " + r.Dst.String()
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return Clean(or(r.HTTP.Method, "GET")) + " " + scheme + Clean(or(r.HTTP.Authority, r.Dst.String())) + Clean(or(r.HTTP.Path, "/"))
}

// Percent writes a probability in whole per cent, and small ones so that they are not 0.
func Percent(p float64) string {
	switch {
	case p > 0 && p < 0.01:
		return fmt.Sprintf("%.2g %%", p*100)
	case p > 0.99 && p < 1:
		return fmt.Sprintf("%.4g %%", p*100)
	}
	return fmt.Sprintf("%.0f %%", p*100)
}
