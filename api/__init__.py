"""HTTP: the face that joins the others. It translates and never decides."""
