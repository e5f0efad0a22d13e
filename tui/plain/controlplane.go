package plain

import (
	"errors"
	"net/netip"

	"github.com/spf13/cobra"
)

// ControlPlane is what the verb controlplane was asked to serve.
type ControlPlane struct {
	Bootstrap string         // the file that is served
	Listen    netip.AddrPort // where ADS is served
	Socket    string         // where policies are asked for
	Write     string         // where the bootstrap to start Envoy with is written; empty: nowhere
	Admin     netip.AddrPort // where Envoy's admin interface is; invalid: where the file says
	Say       func(string)   // is told what happens
}

func newControlPlane(app *App) *cobra.Command {
	var o ControlPlane
	var listen, admin string
	cmd := &cobra.Command{Use: "controlplane", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.Listen, err = netip.ParseAddrPort(listen); err != nil {
			return usage("--listen %q: want ADDR:PORT", listen)
		}
		if admin != "" {
			if o.Admin, err = adminAddr(admin); err != nil {
				return usage("--admin: %w", err)
			}
		}
		return app.controlPlane(cmd, o)
	}}
	f := cmd.Flags()
	f.StringVar(&o.Bootstrap, "bootstrap", "", "the Envoy configuration that is served")
	f.StringVar(&o.Socket, "socket", "", "where policies are asked for")
	f.StringVar(&o.Write, "write", "", "where the bootstrap to start Envoy with is written")
	f.StringVar(&listen, "listen", "127.0.0.1:18000", "where ADS is served")
	f.StringVar(&admin, "admin", "", "where Envoy's admin interface is")
	return cmd
}

// controlPlane serves until it is interrupted.
func (a *App) controlPlane(cmd *cobra.Command, o ControlPlane) error {
	switch {
	case o.Bootstrap == "":
		return usage("controlplane: what is it to serve? want --bootstrap FILE, an Envoy configuration")
	case o.Socket == "":
		return usage("controlplane: where is it asked for policies? want --socket PATH, which meshtop policy takes as --controlplane")
	case a.ControlPlane == nil:
		return cannot(errors.New("controlplane: this build has none"))
	}
	o.Say = func(s string) { a.say(errors.New(s)) }
	serve, err := a.ControlPlane(o)
	if err != nil {
		return usage("controlplane: %w", err)
	}
	if err := serve(cmd.Context()); err != nil {
		return cannot(err)
	}
	return nil
}
