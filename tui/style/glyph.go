package style

// Glyphs of the screens. Each is one column wide in every locale: no emoji, no braille,
// no icons of a special font.
const (
	MarkGoes     = "✓"
	MarkTurns    = "↪"
	MarkStops    = "✗"
	MarkDepends  = "≈"
	MarkUnknown  = "?"
	MarkUnmet    = "–" // not reached
	MarkEnd      = "■"
	SeenYes      = "●"
	SeenNotYet   = "○"
	SeenOther    = "!"
	SeenNever    = "·" // not observable from outside
	Winner       = "▶"
	Cursor       = "▸"
	Folded       = "▸"
	Unfolded     = "▾"
	Margin       = "◂"
	Ellipsis     = "…"
	Dot          = "·"
	Arrow        = "→"
	Back         = "←"
	Dashed       = "╌"
	LightRule    = "─"
	HeavyRule    = "━"
	Upright      = "│"
	TeeDown      = "┬"
	TeeUp        = "┴"
	TeeRight     = "├"
	Corner       = "└"
	CornerTL     = "┌"
	CornerTR     = "┐"
	CornerBR     = "┘"
	DoubleH      = "═"
	DoubleV      = "║"
	DoubleTL     = "╔"
	DoubleTR     = "╗"
	DoubleBL     = "╚"
	DoubleBR     = "╝"
	BarFull      = "█"
	BarRest      = "░"
	ArrowLeftEnd = "◀"
	Warning      = "⚠"
	Radio        = "•"
)

// plainForm is the one ASCII character of each glyph.
func plainForm(g string) (byte, bool) {
	switch g {
	case MarkGoes, TeeRight, Corner, CornerTL, CornerTR, CornerBR, TeeDown, TeeUp:
		return '+', true
	case MarkTurns, Winner, Cursor, Arrow:
		return '>', true
	case MarkStops:
		return 'x', true
	case MarkDepends, Ellipsis:
		return '~', true
	case MarkUnmet, LightRule, HeavyRule:
		return '-', true
	case MarkEnd, BarFull:
		return '#', true
	case SeenYes, Radio:
		return '*', true
	case SeenNotYet:
		return 'o', true
	case SeenNever, BarRest, Dashed:
		return '.', true
	case Unfolded:
		return 'v', true
	case Margin, Back, ArrowLeftEnd:
		return '<', true
	case Upright, DoubleV:
		return '|', true
	case DoubleH, DoubleTL, DoubleTR, DoubleBL, DoubleBR:
		return '=', true
	case Warning:
		return '!', true
	case "↓":
		return 'v', true
	case "↑":
		return '^', true
	}
	return 0, false
}

// InASCII is the ASCII form of one character that is width columns wide: as wide as it is.
// What has none is a question mark a column.
func InASCII(g string, width int) string {
	if len(g) == 1 && g[0] < 0x80 {
		return g
	}
	if c, ok := plainForm(g); ok {
		return string(rune(c))
	}
	if width == 2 {
		return "??"
	}
	return "?"
}
