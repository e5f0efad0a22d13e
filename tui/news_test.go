package tui

import (
	"context"
	"testing"
	"time"
)

// How the way to the target stands remains in sight until it changes, under what keys say; what
// is told once goes with the next key. Neither is trusted to be text.
func TestNews(t *testing.T) {
	d := drive(t, meshOptions(), 80, 24)
	name := d.m.s.opt.Target
	d.send(newsMsg{News{name + ": the stream to the agent has ended: close 1006", true}})
	d.has("the stream to the agent has ended: close 1006")
	d.send(newsMsg{News{name + ": reconnecting ... 3 s: refused\x1b[2J", false}})
	d.has("reconnecting ... 3 s: refused")
	d.hasNot(name+": reconnecting", "\x1b[2J", "close 1006")
	d.keys("m")
	d.has("mouse")
	d.keys("j")
	d.has("reconnecting ... 3 s: refused")
	d.send(newsMsg{News{name + ": back after 3 s", true}})
	d.has("back after 3 s")
	d.hasNot("reconnecting")
	d.keys("j")
	d.hasNot("reconnecting", "back after")
}

// The next news is waited for until the program ends.
func TestNewsIsFollowed(t *testing.T) {
	from := make(chan News, 1)
	opt := meshOptions()
	opt.News = from
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	m := newModel(ctx, opt, time.Now())
	from <- News{Text: "one"}
	if got := m.news()(); got != (newsMsg{News{Text: "one"}}) {
		t.Errorf("got %v", got)
	}
	stop()
	if got := m.gotNews(newsMsg{})(); got != nil {
		t.Errorf("got %v after the end", got)
	}
}
