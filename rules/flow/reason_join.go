package flow

// Reasons of the join (package rules).
const (
	WhyAppSocket        = reasonJoin + iota // Args: socket address, uid
	WhyPeerSocket                           // Args: source address
	WhyToApp                                // delivered to a process that is not the proxy. Args: address, process or ""
	WhyToWire                               // leaves the pod. Args: device, address
	WhyNothingListens                       // no socket listens there: the kernel answers RST. Args: address
	WhyNoProxyConfig                        // the proxy takes it, but its configuration was not read. Args: address
	WhyNoRules                              // rules were not read: taken as captured. Args: listener
	WhyLoop                                 // the same connection again. Args: address
	WhyProxyUIDRules                        // the proxy's uid is taken from an owner rule. Args: uid, rule
	WhyProxyUIDUnknown                      // nothing tells the proxy's uid
	WhyTooManyLegs                          // Args: number
	WhyForwarded                            // goes on to another host through this one. Args: device, address
	WhySourceChosen                         // the kernel chooses the source address. Args: address, device
	WhyOnlyDevice                           // no routes were read: by the only device that is not lo. Args: device, address
	WhyDirectToListener                     // connection goes straight to a listener, nothing redirected it. Args: address
	WhySocketsUnknown                       // sockets were not read: who listens there is not known. Args: address
	WhyZtunnel                              // ztunnel or a waypoint takes it, which has no Envoy admin. Args: address, process or ""
	WhyInDevice                             // nothing tells by which device it comes in: the first that is not lo is taken. Args: device
	joinEnd
)

// JoinReasons are all reasons of the join, for the test of rules/render.
func JoinReasons() (from, to ReasonKind) { return reasonJoin, joinEnd }
