package flow

// Reasons of rules/confirm: why a step has its word.
const (
	SeenNAT           = reasonConfirm + iota // conntrack holds the translation. Args: reply source, expected
	SeenNoNAT                                // conntrack holds no translation. Args: destination
	SeenSYN                                  // Args: tuple, device
	SeenSYNACK                               // the listener accepts. Args: tuple
	SeenRefused                              // RST instead of SYN-ACK. Args: address
	SeenLog                                  // the access log names it. Args: field, value, expected
	SeenCounted                              // a counter grew. Args: counter, before, after
	SeenNotCounted                           // a counter that must grow did not. Args: counter, value
	SeenPooled                               // on a connection that was open before. Args: tuple
	SeenOther                                // the proxy dialled another address. Args: seen, expected
	SeenStatus                               // the answer's status. Args: seen, expected
	SeenClosed                               // closed without an answer. Args: how
	SeenPayload                              // an answer came though none was expected. Args: tuple
	SeenAmbiguous                            // what was seen fits several causes. Args: what, causes
	SeenInside                               // happens inside the proxy: nothing outside shows it
	SeenKernel                               // decided in the kernel: only where packets go shows it
	SeenNoConntrack                          // the namespace has no rule that uses conntrack
	SeenNoneOfIt                             // nothing of it was seen
	SeenTooLittle                            // packets were lost, or the watch began late: absence proves nothing. Args: dropped
	SeenUnpredicted                          // the trace does not say what to expect
	SeenBlind                                // what would show it could not be read. Args: source, reason
	SeenOtherOwner                           // another user made the request, whom a rule treats differently. Args: uid, uid of the request
	SeenOtherCause                           // the counter of another cause grew. Args: counter, before, after
	SeenRuleGone                             // the rule is not there any more. Args: its place
	SeenElsewhere                            // the request had left this way at an earlier step
	SeenPassed                               // a packet that should not have come this far. Args: tuple, device
	SeenSocketOwner                          // the socket table names the owner. Args: tuple, uid
	SeenOthersOnly                           // other requests went there, and not this one. Args: connections, address, one of them
	SeenWhich                                // several connections can be the request's. Args: connections, address
	SeenBusy                                 // the proxy had other requests: its connections may be theirs. Args: listener's address
	SeenOthersCounted                        // a counter grew, maybe for others. Args: counter, before, after
	SeenBothGrew                             // the counters of two endpoints grew. Args: of the expected one, of another
	SeenNotBetween                           // a counter stayed, but the request need not have come between its readings. Args: counter, value
	SeenHello                                // what the ClientHello says. Args: seen, expected
	SeenHelloCut                             // the ClientHello goes on past what was kept. Args: what is known of it
	SeenNamesCut                             // several connections, whose server names were not kept. Args: connections, address
	confirmEnd
)

// ConfirmReasons are all reasons of rules/confirm, for the test of rules/render.
func ConfirmReasons() (from, to ReasonKind) { return reasonConfirm, confirmEnd }
