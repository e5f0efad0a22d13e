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
	WhyNamedHosts                           // a hosts file has the name. Args: name, addresses, file
	WhyNamedServer                          // a name server answered. Args: name and what was asked for, addresses, server
	WhyNamedVia                             // the pod's rules bring questions to another than the server that was asked. Args: server, where to
	WhyNamedProgram                         // an image's own resolver answered. Args: name, addresses, program and container
	WhyNamedService                         // the API server has it as a Service's, and nobody asked the pod's resolver. Args: name, addresses, Service
	WhyNamedLocal                           // localhost. Args: name, addresses
	WhyNamedFirst                           // of several addresses the first is followed. Args: it, number of all, number without a route
	WhyNamedPicked                          // of several the user chose this one. Args: it, number of all
	WhyNamedNot                             // the name could not be looked up. Args: name, why
	WhyAddress                              // what of the cluster stands behind an address. Args: address, kind or "", name
	WhyNamesPartial                         // not every address could be asked a name for. Args: why
	joinEnd
)

// JoinReasons are all reasons of the join, for the test of rules/render.
func JoinReasons() (from, to ReasonKind) { return reasonJoin, joinEnd }
