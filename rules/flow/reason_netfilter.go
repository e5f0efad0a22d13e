package flow

// Reasons of rules/netfilter.
const (
	netfilterFirst = reasonNetfilter + iota

	// What a packet has where a condition looked. Args: the condition's words, what it has.
	WhyPacketSrc
	WhyPacketDst
	WhyPacketIn    // empty: none
	WhyPacketOut   // empty: none
	WhyPacketProto // name
	WhyPacketSport // empty: ephemeral
	WhyPacketDport
	WhyPacketUID
	WhyPacketGID
	WhyPacketNoOwner // the packet has no socket that a process holds
	WhyPacketOwned   // it has one
	WhyPacketSYN     // TCP: it is the first packet, a SYN
	WhyPacketEcho    // ICMP: an echo request
	WhyPacketWhole   // it is no fragment
	WhyPacketMark
	WhyConnMark
	WhyConnState
	WhyConnStatus
	WhyNoConn // conntrack has no entry for it here
	WhyAddrLocal
	WhyAddrNotLocal
	WhyAddrUnknown   // which addresses are the host's was not read
	WhySetAnswers    // the set's name: it does not hold the packet, or does where negated
	WhySetUnread     // the set's content was not read
	WhySocketFound   // local address of the socket
	WhySocketNone    // address
	WhySocketUnknown // address: sockets were not read
	WhyNotBridged
	WhyDrawDecides      // a draw decides
	WhyStateDecides     // a counter, bucket, list or clock decides. Second: when the other way
	WhyMatchNotModelled // meshtop does not model this condition
	WhyEveryPacket      // the same for every packet
	WhyField            // nft: the value of the field
	WhyFieldNone        // nft: the packet has no such field
	WhyNegatedPair      // nft: whether one comparison or two are loaded, the listing does not tell

	// What a rule did.
	WhyVerdictAccept
	WhyVerdictReturn
	WhyVerdictDrop
	WhyVerdictReject // Args: what it answers
	WhyJump          // Args: chain
	WhyGoto          // Args: chain
	WhyCounts        // it only counts
	WhyPassive
	WhyTargetNotModelled
	WhyTooManyJumps
	WhyPolicy          // Args: policy
	WhyRedirected      // Args: new address and port, port
	WhyDNAT            // Args: new address and port
	WhySNAT            // Args: new source
	WhyMasquerade      // Args: new source
	WhyDeviceNoAddress // Args: device: it has no address to use
	WhySetMark         // Args: mark
	WhySetConnmark     // Args: mark
	WhyConnmarkNoConn
	WhyConnLate // CT on a packet that has its connection already
	WhyNotrack
	WhyZone           // Args: zone
	WhyTProxy         // Args: address of the listener
	WhyTProxyNone     // Args: address at which no transparent listener is
	WhyTProxyNotLocal // TPROXY gave it a socket, but no route makes it local. Args: destination
	WhyStatements     // nft: Args: the statements that ran
	WhyNumgen         // Args: number drawn

	// What the kernel chose or refused on the way.
	WhyRouteBy        // Args: device, destination
	WhyRouteLocal     // Args: destination
	WhyReroute        // Args: device, destination
	WhyForwardBy      // Args: device, destination
	WhyNoRoute        // Args: destination
	WhyLoopbackSource // Args: source, device
	WhyMartianDst     // Args: destination, device
	WhyMartianSrc     // Args: source, device
	WhyForeignSource  // Args: source
	WhyOwnSource      // Args: source, device
	WhyReversePath    // Args: source, device
	WhyForwardOff     // Args: destination
	WhyNoDestination

	// What was assumed.
	WhyTakenAsMatch       // Args: condition, "chance", "state" or "" (not known)
	WhyTakenAsNoMatch     // Args: as above
	WhyOrder              // Args: chain, "nft-first", "legacy-first" or "inet/TABLE-first"
	WhyOrderByAge         // Args: chain
	WhyAddrAssumed        // Args: address, device
	WhyTransparentAssumed // Args: address
	WhySysctlAssumed      // Args: key, value
	WhyRuleOfOther        // Args: table: rules of IPv6 were not read
	WhyNextHop            // Args: device
	WhyAddrHashed         // Args: address
	WhyPortDrawn          // Args: port
	netfilterEnd
)

// NetfilterReasons are all reasons of rules/netfilter, for the test of rules/render.
func NetfilterReasons() (from, to ReasonKind) { return netfilterFirst + 1, netfilterEnd }
