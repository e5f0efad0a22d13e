module github.com/meshtop/meshtop

go 1.26
