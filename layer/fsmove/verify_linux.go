package fsmove

import (
	"context"
	"errors"
	"fmt"

	"usui/layer/fsmove/compare"
	"usui/layer/fsmove/control"
	"usui/layer/fsmove/tree"
)

// verify compares source and destination. The error names what is damaged, or could not be compared.
func (v *Move) verify(ctx context.Context, how control.Verify) error {
	if how == control.None {
		return nil
	}
	v.enter(control.Verifying)
	lost, err := v.lost()
	if err != nil {
		return err
	}
	src, err := v.migration.OpenSource()
	if err != nil {
		return err
	}
	dst, err := tree.From(v.migration.Destination().Fd(), v.cfg.Destination)
	if err != nil {
		return errors.Join(err, src.Close())
	}
	r, err := v.compare(ctx, src, dst, compare.Options{
		Skip: compare.Skip, Quick: how == control.Quick, List: mostTold, Pace: v.migration.Pacer().Wait, Progress: v.verifying,
		Lost: func(path string) bool { _, is := lost[path]; return is },
	})
	if err == nil {
		v.verifying(r)
		err = v.judge(&r)
	}
	return err
}

// compare compares trees until ctx ends, or the move does. A source that hangs is left to the goroutine that waits for it, which closes both.
func (v *Move) compare(ctx context.Context, src, dst *tree.Root, o compare.Options) (compare.Report, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	reports, errs := make(chan compare.Report, 1), make(chan error, 1)
	go func() { // until it has compared all, or ctx ends and no call hangs
		r, err := compare.Trees(ctx, src, dst, o)
		reports <- r
		errs <- errors.Join(err, src.Close(), dst.Close())
	}()
	select {
	case err := <-errs:
		return <-reports, err
	case <-v.ended:
		stop(errEnds)
	case <-ctx.Done():
	}
	return compare.Report{}, context.Cause(ctx)
}

// lost are the paths of what is known not to have arrived, or in part.
func (v *Move) lost() (map[string]struct{}, error) {
	all := map[string]struct{}{}
	for l, err := range v.migration.Skipped() {
		if err != nil {
			return nil, err
		}
		all[l.Path] = struct{}{}
	}
	return all, nil
}

// verifying notes how far the comparison is.
func (v *Move) verifying(r compare.Report) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note = fmt.Sprintf("verified: %d entries and %d MiB, %d changed, gone or new by clients, %d damaged", r.Entries, r.Bytes>>20, r.Changed.Count+r.Metadata.Count+r.Gone.Count+r.New.Count, r.Damaged.Count)
}

// judge says why a move may not end.
func (v *Move) judge(r *compare.Report) error {
	for what, c := range map[string]*compare.Class{"damaged": &r.Damaged, "could not be compared": &r.Failed, "the source has changed": &r.SourceChanged} {
		for _, f := range c.List {
			v.logger.Error("verify: "+what, "path", f.Path, "what", f.What)
		}
	}
	switch {
	case r.Good():
		return nil
	case r.Damaged.Count > 0:
		f := r.Damaged.List[0]
		return fmt.Errorf("%d things are damaged at the destination, and no client did it: the first is %q (%s); the log names the first %d; copy them from %s to %s and finish again", r.Damaged.Count, f.Path, f.What, mostTold, v.cfg.Source, v.cfg.MountPoint)
	case r.Failed.Count > 0:
		f := r.Failed.List[0]
		return fmt.Errorf("%d things could not be compared: the first is %q (%s); finish again, or with --verify none", r.Failed.Count, f.Path, f.What)
	default:
		return fmt.Errorf("%d things of the source have changed since: the first is %q; nobody may write it during a move", r.SourceChanged.Count, r.SourceChanged.List[0].Path)
	}
}
