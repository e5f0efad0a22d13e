package render

import "github.com/meshtop/meshtop/rules/flow"

// confirmWords words the reasons of flow/reason_confirm.go; empty for a kind that is not its own.
func confirmWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.SeenNAT:
		if a[1] != "" && a[0] != a[1] {
			return "conntrack: answers come from " + a[0] + ", expected from " + a[1]
		}
		return "conntrack: answers come from " + a[0]
	case flow.SeenNoNAT:
		return "conntrack: no translation of " + a[0]
	case flow.SeenSYN:
		return "SYN " + a[0] + " on " + a[1]
	case flow.SeenSYNACK:
		return "accepted: SYN-ACK " + a[0]
	case flow.SeenRefused:
		return "refused: " + a[0] + " answers the SYN with RST"
	case flow.SeenLog:
		if a[1] != a[2] {
			return "access log: " + a[0] + " " + or(a[1], "(empty)") + ", expected " + or(a[2], "(empty)")
		}
		return "access log: " + a[0] + " " + or(a[1], "(empty)")
	case flow.SeenCounted:
		return a[0] + " " + a[1] + " → " + a[2]
	case flow.SeenNotCounted:
		return a[0] + " stays at " + a[1]
	case flow.SeenPooled:
		return "on a connection that was already open: " + a[0]
	case flow.SeenOther:
		return "the proxy dialled " + a[0] + ", expected " + a[1]
	case flow.SeenStatus:
		if a[0] != a[1] {
			return "answered " + a[0] + ", expected " + a[1]
		}
		return "answered " + a[0]
	case flow.SeenClosed:
		return "closed without an answer: " + a[0]
	case flow.SeenPayload:
		return "an answer came, though none was expected: " + a[0]
	case flow.SeenAmbiguous:
		return a[0] + " was seen, which fits " + a[1]
	case flow.SeenOtherCause:
		return "for another cause: " + a[0] + " " + a[1] + " → " + a[2]
	case flow.SeenRuleGone:
		return "the rule is not there any more: " + a[0]
	case flow.SeenPassed:
		return "passed all the same: " + a[0] + " on " + a[1]
	case flow.SeenHello:
		if a[0] != a[1] {
			return "ClientHello: " + a[0] + "; expected " + a[1]
		}
		return "ClientHello: " + a[0]
	case flow.SeenSocketOwner:
		return "socket " + a[0] + " belongs to uid " + a[1]
	}
	return unseenWords(k, a)
}

// unseenWords says why nothing was seen of a step, or why what was seen proves nothing.
func unseenWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.SeenInside:
		return "happens inside the proxy: nothing outside shows it"
	case flow.SeenKernel:
		return "decided in the kernel: only where the packets go shows it"
	case flow.SeenNoConntrack:
		return "conntrack is inactive: no rule of this namespace uses it"
	case flow.SeenNoneOfIt:
		return "nothing of it was seen"
	case flow.SeenTooLittle:
		return "packets were lost (" + a[0] + ") or the watch began late: absence proves nothing"
	case flow.SeenUnpredicted:
		return "the trace does not say what to expect"
	case flow.SeenBlind:
		return a[0] + " could not be read (" + a[1] + "): that nothing was seen proves nothing"
	case flow.SeenOtherOwner:
		return "made by uid " + a[0] + ", whom a rule treats differently from uid " + a[1]
	case flow.SeenElsewhere:
		return "the request had left this way before"
	case flow.SeenOthersOnly:
		return "of " + a[0] + " connections to " + a[1] + " none carries this request (method, host, path), but others do: " + a[2]
	case flow.SeenWhich:
		return "ambiguous: " + a[0] + " connections to " + a[1] + ", and what can be read of them does not tell which one is the request's"
	case flow.SeenBusy:
		return "ambiguous: other requests came to " + a[0] + " at the same time or may have, and the proxy's connections can be for them"
	case flow.SeenOthersCounted:
		return "ambiguous: " + a[0] + " " + a[1] + " → " + a[2] + " may be for other requests"
	case flow.SeenBothGrew:
		return "ambiguous: " + a[0] + " grew, and so did " + a[1]
	case flow.SeenHelloCut:
		return "the ClientHello was cut off by the snaplen: " + a[0]
	case flow.SeenNamesCut:
		return "ambiguous: " + a[0] + " connections to " + a[1] + ", and the server names in their ClientHellos were cut off by the snaplen"
	case flow.SeenNotBetween:
		return a[0] + " stays at " + a[1] + ", which proves nothing: the request was not seen to begin and end between its two readings"
	}
	return ""
}
