package main

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"maps"
	"slices"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/go-fonts/dejavu/dejavusansmono"
	"github.com/go-fonts/dejavu/dejavusansmonobold"
	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// A cell in pixels, and the size of the font that fills it: its characters are 0.602 em wide.
const (
	cellW, cellH = 9, 19
	fontSize     = cellW / 0.602
	baseline     = 15
	margin       = 6
)

// pen draws cells.
type pen struct{ plain, bold font.Face }

func newPen() (*pen, error) {
	face := func(ttf []byte) (font.Face, error) {
		f, err := opentype.Parse(ttf)
		if err != nil {
			return nil, err
		}
		return opentype.NewFace(f, &opentype.FaceOptions{Size: fontSize, DPI: 72, Hinting: font.HintingFull})
	}
	plain, err := face(dejavusansmono.TTF)
	if err != nil {
		return nil, err
	}
	bold, err := face(dejavusansmonobold.TTF)
	return &pen{plain, bold}, err
}

// colours are a terminal's own: of text, of the background, and the sixteen that programs name.
type colours struct {
	text, back color.RGBA
	sixteen    [16]uint32 // 0xrrggbb
}

// coloursOf are those of a dark and of a light terminal.
func coloursOf(light bool) colours {
	if light {
		return colours{rgb(0x1f2328), rgb(0xffffff), [16]uint32{0x1f2328, 0xb3261e, 0x1a6b32, 0x7a5200, 0x0b57b0, 0x7b3fb5, 0x0f6a75, 0x6b7280,
			0x57606a, 0x8f1d17, 0x14562a, 0x5f4000, 0x1f74d8, 0x9656d6, 0x258695, 0x9aa3ad}}
	}
	return colours{rgb(0xd7dae0), rgb(0x14161b), [16]uint32{0x14161b, 0xe5534b, 0x57ab5a, 0xd9b44a, 0x539bf5, 0xc678dd, 0x4fb8c4, 0xc9cdd4,
		0x6b7280, 0xff7b72, 0x7ee787, 0xf2cc60, 0x79c0ff, 0xe0a3f5, 0x76e3ea, 0xffffff}}
}

func rgb(v uint32) color.RGBA { return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 255} }

// of is a colour of a cell; nil is the terminal's own.
func (t colours) of(c color.Color, own color.RGBA) color.RGBA {
	switch c := c.(type) {
	case nil:
		return own
	case ansi.BasicColor:
		return rgb(t.sixteen[c&15])
	case ansi.IndexedColor:
		if c < 16 {
			return rgb(t.sixteen[c])
		}
	}
	r, g, b, _ := c.RGBA()
	return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
}

// halfway is between two colours: how terminals show what is faint.
func halfway(a, b color.RGBA) color.RGBA {
	mid := func(x, y uint8) uint8 { return uint8((int(x)*11 + int(y)*9) / 20) }
	return color.RGBA{mid(a.R, b.R), mid(a.G, b.G), mid(a.B, b.B), 255}
}

// picture draws a terminal as a PNG; a cursor that is shown is a bar at the left of its cell.
func (p *pen) picture(w io.Writer, cells uv.ScreenBuffer, cursor *uv.Position, light bool) error {
	c := coloursOf(light)
	img := image.NewRGBA(image.Rect(0, 0, cells.Width()*cellW+2*margin, cells.Height()*cellH+2*margin))
	fill(img, img.Bounds(), c.back)
	for y := range cells.Height() {
		for x := range cells.Width() {
			if cell := cells.CellAt(x, y); cell != nil && cell.Width > 0 {
				p.cell(img, x, y, cell, c)
			}
		}
	}
	if cursor != nil {
		x, y := margin+cursor.X*cellW, margin+cursor.Y*cellH
		fill(img, image.Rect(x, y, x+2, y+cellH), c.text)
	}
	e := png.Encoder{CompressionLevel: png.BestCompression}
	return e.Encode(w, fewColours(img))
}

func (p *pen) cell(img *image.RGBA, x, y int, cell *uv.Cell, c colours) {
	text, back := c.of(cell.Style.Fg, c.text), c.of(cell.Style.Bg, c.back)
	if cell.Style.Attrs&uv.AttrReverse != 0 {
		text, back = back, text
	}
	if cell.Style.Attrs&uv.AttrFaint != 0 {
		text = halfway(text, back)
	}
	at := image.Rect(margin+x*cellW, margin+y*cellH, margin+(x+cell.Width)*cellW, margin+(y+1)*cellH)
	fill(img, at, back)
	if rule(img, at, cell.Content, text) || cell.Content == " " {
		return
	}
	face := p.plain
	if cell.Style.Attrs&uv.AttrBold != 0 {
		face = p.bold
	}
	d := font.Drawer{Dst: img.SubImage(at).(draw.Image), Src: image.NewUniform(text), Face: face, Dot: fixed.P(at.Min.X, at.Min.Y+baseline)}
	d.DrawString(cell.Content)
}

// fewColours is a picture with the 256 colours that it has most of: edges of letters have many
// more, which nobody tells apart, and a third of the bytes does.
func fewColours(img *image.RGBA) *image.Paletted {
	count := map[color.RGBA]int{}
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			count[img.RGBAAt(x, y)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		if n := count[b] - count[a]; n != 0 {
			return n
		}
		return slices.Compare([]uint8{a.R, a.G, a.B}, []uint8{b.R, b.G, b.B})
	})
	palette := color.Palette{}
	for _, c := range most[:min(len(most), 256)] {
		palette = append(palette, c)
	}
	near := map[color.RGBA]uint8{}
	for c := range count {
		near[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(img.Rect, palette)
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			out.SetColorIndex(x, y, near[img.RGBAAt(x, y)])
		}
	}
	return out
}

func fill(img draw.Image, r image.Rectangle, c color.RGBA) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}
