"""The commands of ``asdkit``, in a module for each kind; `shared` has what they share."""
