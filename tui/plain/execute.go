package plain

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// execute runs the verb and gives up the files that it mapped. A file that is written to
// meanwhile has no answer: what was read of it is half old and half new, and what is cut
// off is a fault of this process, which is caught here.
func (a *App) execute(ctx context.Context, root *cobra.Command) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		cause := recover()
		changed := a.changed()
		fault, isFault := cause.(interface {
			runtime.Error
			Addr() uintptr
		})
		switch {
		case changed != nil:
			err = usage("%w", changed)
		case isFault && len(a.mapped) > 0:
			err = usage("a file cannot be read: %w", error(fault))
		case cause != nil:
			panic(cause)
		}
		for _, m := range a.mapped {
			if e := m.Close(); e != nil && err == nil {
				err = cannot(fmt.Errorf("unmap a file: %w", e))
			}
		}
		a.mapped = nil
	}()
	return root.ExecuteContext(ctx)
}

func (a *App) changed() error {
	for _, m := range a.mapped {
		if err := m.Changed(); err != nil {
			return err
		}
	}
	return nil
}
