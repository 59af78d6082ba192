"""cvjax: image-understanding networks that train, are measured and are compared by one loop."""
