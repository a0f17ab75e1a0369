package server

// absentCommands are those by which a client makes sure that there is nothing of what this server never has.
func absentCommands() []command {
	return []command{
		{"function", -2, "", 0, 0, 0, nil},
		{"function|flush", -2, "write noscript", 0, 0, 0, flushNothing},
		{"function|list", -2, "noscript", 0, 0, 0, func(k *call) { k.w.Array(0) }},
		{"script", -2, "", 0, 0, 0, nil},
		{"script|flush", -2, "noscript", 0, 0, 0, flushNothing},
		{"script|exists", -3, "noscript", 0, 0, 0, scriptExists},
	}
}

func flushNothing(k *call) {
	if len(k.args) > 3 {
		k.failSub()
		return
	}
	k.w.Status("OK")
}

func scriptExists(k *call) {
	n := len(k.args) - 2
	k.w.Array(n)
	for range n {
		k.w.Int(0)
	}
}
