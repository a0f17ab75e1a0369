package survey

import "testing"

func TestNamesThatAreOne(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want string
		form bool
	}{
		{"a", "b", "", false},
		{"read me", "READ ME", "read me", false},
		{"\u00e9t\u00e9", "e\u0301te\u0301", "\u00e9t\u00e9", true},
		{"\u00c9t\u00e9", "e\u0301te\u0301", "\u00c9t\u00e9", false},
		{"stra\u00dfe", "STRASSE", "stra\u00dfe", false},
		{"\xff", "\xfe", "", false},
		{"\u00e9", "e", "", false},
	} {
		f := newFolder()
		if with, _ := f.collision(tt.a); with != "" {
			t.Errorf("the first name %q is one with %q", tt.a, with)
		}
		if with, form := f.collision(tt.b); with != tt.want || form != tt.form {
			t.Errorf("collision(%q) after %q = %q, %t, want %q, %t", tt.b, tt.a, with, form, tt.want, tt.form)
		}
		f.begin()
		if with, _ := f.collision(tt.b); with != "" {
			t.Errorf("%q is one with %q of another folder", tt.b, with)
		}
	}
}

func TestNamesOfWindows(t *testing.T) {
	for name, want := range map[string]bool{
		"a": false, "a b.txt": false, ".profile": false, "console": false, "com": false, "com0": false, "COM10": false, "\u00e9": false, "nul_": false,
		"a:b": true, "a*": true, "what?": true, `q"`: true, "<": true, ">": true, "a|b": true, `a\b`: true, "a\n": true, "end.": true, "end ": true,
		"con": true, "NUL": true, "nul.txt": true, "Aux.tar.gz": true, "lpt1": true, "com9.c": true, "prn ": true, "con .txt": true,
	} {
		if got := illegal(name) != ""; got != want {
			t.Errorf("illegal(%q) = %t, want %t", name, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a")
	f.Add("\xff\u0301e")
	names := newFolder()
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return
		}
		_ = illegal(name)
		names.begin()
		names.collision(name)
		if with, _ := names.collision(name); with != name {
			t.Errorf("%q is one with %q, and not with itself", name, with)
		}
	})
}
