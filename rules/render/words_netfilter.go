package render

import "github.com/meshtop/meshtop/rules/flow"

// netfilterWords words the reasons of flow/reason_netfilter.go; empty for a kind that is not its own.
func netfilterWords(k flow.ReasonKind, a [3]string) string {
	for _, words := range []func(flow.ReasonKind, [3]string) string{packetWords, testWords, targetWords, kernelWords, assumedWords} {
		if s := words(k, a); s != "" {
			return s
		}
	}
	return ""
}

// packetWords say what a packet has where a condition looked.
func packetWords(k flow.ReasonKind, a [3]string) string {
	has := ""
	switch k {
	case flow.WhyPacketSrc:
		has = "the source is " + a[1]
	case flow.WhyPacketDst:
		has = "the destination is " + a[1]
	case flow.WhyPacketIn:
		has = "it came in by " + or(a[1], "no device")
	case flow.WhyPacketOut:
		has = "it leaves by " + or(a[1], "no device")
	case flow.WhyPacketProto:
		has = "the protocol is " + a[1]
	case flow.WhyPacketSport:
		has = "the source port is " + or(a[1], "ephemeral")
	case flow.WhyPacketDport:
		has = "the port is " + or(a[1], "not known")
	case flow.WhyPacketUID:
		has = "the request's uid is " + a[1]
	case flow.WhyPacketGID:
		has = "the request's gid is " + a[1]
	case flow.WhyPacketNoOwner:
		has = "no process owns the packet here"
	case flow.WhyPacketOwned:
		has = "a process owns the packet"
	case flow.WhyPacketSYN:
		has = "it is the first packet, a SYN"
	case flow.WhyPacketEcho:
		has = "it is an echo request"
	case flow.WhyPacketWhole:
		has = "it is no fragment"
	case flow.WhyPacketMark:
		has = "the mark is " + a[1]
	case flow.WhyField:
		has = "it is " + a[1]
	case flow.WhyNegatedPair:
		has = "one of the two holds, and whether that is enough the listing does not tell"
	case flow.WhyFieldNone:
		has = "the packet has no such field"
	}
	return because(a[0], has)
}

// because joins a condition and what is so instead; empty without the latter.
func because(condition, has string) string {
	if has == "" || condition == "" {
		return has
	}
	return condition + ": " + has
}

// testWords say what else a condition looked at.
func testWords(k flow.ReasonKind, a [3]string) string {
	has := ""
	switch k {
	case flow.WhyConnMark:
		has = "the connection's mark is " + a[1]
	case flow.WhyConnState:
		has = "the connection's state is " + a[1]
	case flow.WhyConnStatus:
		has = "the connection's status is " + or(a[1], "none")
	case flow.WhyNoConn:
		has = "conntrack has no entry for it here"
	case flow.WhyAddrLocal:
		has = a[1] + " is an address of this host"
	case flow.WhyAddrNotLocal:
		has = a[1] + " is no address of this host"
	case flow.WhyAddrUnknown:
		has = "whether " + a[1] + " is an address of this host was not read"
	case flow.WhySetAnswers:
		has = "judged by the members of set " + a[1]
	case flow.WhySetUnread:
		has = "the members of set " + a[1] + " were not read"
	case flow.WhySocketFound:
		has = "a socket listens at " + a[1]
	case flow.WhySocketNone:
		has = "no socket listens at " + a[1]
	case flow.WhySocketUnknown:
		has = "whether a socket listens at " + a[1] + " was not read"
	case flow.WhyNotBridged:
		has = "nothing is bridged here"
	case flow.WhyDrawDecides:
		has = "a draw decides"
	case flow.WhyStateDecides:
		has = "a state decides that no snapshot holds"
		if a[1] != "" {
			has += " (" + a[1] + ")"
		}
	case flow.WhyMatchNotModelled:
		has = "meshtop does not model this condition"
	case flow.WhyEveryPacket:
		has = "the same for every packet"
	}
	return because(a[0], has)
}

// targetWords say what a rule did.
func targetWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyVerdictAccept:
		return "ACCEPT"
	case flow.WhyVerdictReturn:
		return "RETURN"
	case flow.WhyVerdictDrop:
		return "DROP"
	case flow.WhyVerdictReject:
		return "REJECT with " + or(a[0], "an ICMP error")
	case flow.WhyJump:
		return "to chain " + a[0]
	case flow.WhyGoto:
		return "to chain " + a[0] + ", not back"
	case flow.WhyCounts:
		return "only counts"
	case flow.WhyPassive:
		return or(a[0], "it") + ", the packet goes on"
	case flow.WhyTargetNotModelled:
		return "meshtop does not model what this does"
	case flow.WhyTooManyJumps:
		return "the chains jump in circles"
	case flow.WhyPolicy:
		return "no rule decided: the chain's policy is " + a[0]
	case flow.WhyRedirected:
		return "REDIRECT to " + a[0]
	case flow.WhyDNAT:
		return "DNAT to " + a[0]
	case flow.WhySNAT:
		return "SNAT from " + a[0]
	case flow.WhyMasquerade:
		return "MASQUERADE as " + a[0]
	case flow.WhyDeviceNoAddress:
		return or(a[0], "the device") + " has no address to use: dropped"
	}
	return changeWords(k, a)
}

// changeWords say what a rule changed without deciding.
func changeWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhySetMark:
		return "sets the mark to " + a[0]
	case flow.WhySetConnmark:
		return "sets the connection's mark to " + a[0]
	case flow.WhyConnmarkNoConn:
		return "no connection is tracked here: nothing is marked"
	case flow.WhyConnLate:
		return "the packet has its connection already: nothing changes"
	case flow.WhyNotrack:
		return "not tracked: nat will not see it"
	case flow.WhyZone:
		return "conntrack zone " + or(a[0], "of the mark")
	case flow.WhyTProxy:
		return "TPROXY to the listener at " + a[0] + ", the address stays"
	case flow.WhyTProxyNotLocal:
		return "TPROXY gave it a socket, but no route makes " + a[0] + " local: it is dropped (ip rule and a local route for the mark are missing)"
	case flow.WhyTProxyNone:
		return "no transparent listener at " + a[0] + ": dropped"
	case flow.WhyStatements:
		return a[0]
	case flow.WhyNumgen:
		return "numgen drew " + a[0]
	}
	return ""
}

// kernelWords say what the kernel chose or refused on the way.
func kernelWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyRouteBy:
		return "goes by " + a[0]
	case flow.WhyRouteLocal:
		return a[0] + " is an address of this host"
	case flow.WhyReroute:
		return "routed again: " + a[1] + " goes by " + a[0]
	case flow.WhyForwardBy:
		return "passed on by " + a[0] + " to " + a[1]
	case flow.WhyNoRoute:
		return "no route to " + a[0]
	case flow.WhyLoopbackSource:
		return "source " + a[0] + " may not leave by " + a[1] + " (route_localnet is off)"
	case flow.WhyMartianDst:
		return "destination " + a[0] + " may not come in by " + a[1] + " (route_localnet is off)"
	case flow.WhyMartianSrc:
		return "source " + a[0] + " may not come in by " + a[1] + " (route_localnet is off)"
	case flow.WhyForeignSource:
		return "the route offers source " + a[0] + ", which is no address of this host: connect() fails"
	case flow.WhyOwnSource:
		return "source " + a[0] + " is this host's own and may not come in by " + a[1]
	case flow.WhyReversePath:
		return "answers to " + a[0] + " would not go by " + a[1] + " (rp_filter)"
	case flow.WhyForwardOff:
		return a[0] + " is no address of this host, and it does not forward"
	case flow.WhyNoDestination:
		return "the request names no address or protocol"
	}
	return ""
}

// assumedWords say what was taken for granted.
func assumedWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyTakenAsMatch:
		return a[0] + " taken to match" + openWhy(a[1])
	case flow.WhyTakenAsNoMatch:
		return a[0] + " taken not to match" + openWhy(a[1])
	case flow.WhyOrder:
		return "tables meet here at one priority and their order cannot be read: taken " + a[1]
	case flow.WhyOrderByAge:
		return "chains of one priority taken to be registered in the order of their tables"
	case flow.WhyAddrAssumed:
		return "addresses of " + or(a[1], "the device") + " were not read: " + a[0] + " taken as its own"
	case flow.WhyTransparentAssumed:
		return "whether the listener at " + a[0] + " is transparent was not read: taken as such"
	case flow.WhySysctlAssumed:
		return a[0] + " was not read: taken as " + a[1]
	case flow.WhyRuleOfOther:
		return "the ip rules of IPv6 were not read: taken as those of IPv4 (table " + a[0] + ")"
	case flow.WhyNextHop:
		return "several next hops: taken by " + a[0]
	case flow.WhyAddrHashed:
		return "one of a range of addresses: taken as " + a[0]
	case flow.WhyPortDrawn:
		return "one of a range of ports: taken as " + a[0]
	}
	return ""
}

func openWhy(s string) string {
	switch s {
	case "chance":
		return " (a draw)"
	case "state":
		return " (a state that no snapshot holds)"
	}
	return " (not known)"
}
