// Package netfilter reads a pod's packet filter rules and decides, as the kernel does,
// what happens to the first packet of a connection.
package netfilter
