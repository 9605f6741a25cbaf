"""How well judges of three sizes grade every test pair of RaR-Mini, in five arms."""
