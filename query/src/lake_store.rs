//! The only store a query can reach: the one of the lake. There is no `file://`, no `http://` and no bucket beside it.

use std::sync::Arc;

use datafusion::{
    common::{Result, exec_err},
    execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl},
};
use object_store::ObjectStore;
use url::Url;

/// Name under which plans know the lake.
const LAKE_URL: &str = "assay://lake/";

/// The address of the lake in plans.
pub(crate) fn url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse(LAKE_URL).expect("the address is a constant and a valid one")
}

/// Knows the lake and refuses everything else.
#[derive(Debug)]
pub(crate) struct OnlyTheLake(pub(crate) Arc<dyn ObjectStore>);

impl ObjectStoreRegistry for OnlyTheLake {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.as_str().starts_with(LAKE_URL) {
            Ok(Arc::clone(&self.0))
        } else {
            exec_err!("files and addresses cannot be read: found `{url}`, expected a table")
        }
    }
}
