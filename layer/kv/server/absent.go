package server

// absentCommands are those by which a client makes sure that there is nothing of what this server never has.
func absentCommands() []command {
	none := func(k *call) { k.w.Array(0) }
	done := func(k *call) { k.w.Status("OK") }
	return []command{
		{"function", -2, "", 0, 0, 0, nil},
		{"function|flush", -2, "write noscript", 0, 0, 0, done},
		{"function|list", -2, "noscript", 0, 0, 0, none},
		{"script", -2, "", 0, 0, 0, nil},
		{"script|flush", -2, "noscript", 0, 0, 0, done},
		{"script|exists", -3, "noscript", 0, 0, 0, scriptExists},
	}
}

func scriptExists(k *call) {
	k.w.Array(len(k.args) - 2)
	for range k.args[2:] {
		k.w.Int(0)
	}
}
