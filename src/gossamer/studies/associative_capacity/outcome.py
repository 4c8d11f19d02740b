def findings(*a): raise NotImplementedError
